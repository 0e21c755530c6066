import { Errno, errno } from '../base/errno.js';
import { libcFunction, result } from './ffi.js';
import { close } from './files.js';
import { pinned } from './memory.js';

const epollCreateCall = libcFunction('epoll_create1', 'i', 'i');
const epollCtlCall = libcFunction('epoll_ctl', 'i', 'iiip');
const epollWaitCall = libcFunction('epoll_wait', 'i', 'ipii');
const syscallCall = libcFunction('syscall', 'l', 'lll');

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;
const EPOLLONESHOT = 1 << 30;
/** The same number on x86-64 and arm64. */
const SYS_PIDFD_OPEN = 434;
const MOST = 64;
/** struct epoll_event is packed on x86-64 alone (epoll_ctl(2)): where the 64 bits of data begin. */
const DATA = process.arch === 'x64' ? 4 : 8;
const EVENT_BYTES = DATA + 8;

/** A process that no later one is taken for, however long it is dead: pidfd_open(2). A descriptor, or -ESRCH. */
export function openProcess(pid: number): number {
  return result(syscallCall(SYS_PIDFD_OPEN, pid, 0));
}

/** Waits for the ends of processes and of connections: one descriptor for any number of them (epoll(7)). */
export class Hangups {
  /** Readable when {@link take} has something. */
  readonly fd: number;
  readonly #events = pinned(EVENT_BYTES * MOST);
  readonly #one = pinned(EVENT_BYTES);

  constructor() {
    this.fd = result(epollCreateCall(EPOLL_CLOEXEC));
    if (this.fd < 0) throw new Errno(-this.fd, 'epoll_create1');
  }

  /** `fd` is ours from now on. A process tells its end by EPOLLIN; a socket by EPOLLHUP, which needs no asking. 0 or -errno. */
  add(fd: number, kind: 'process' | 'connection'): number {
    const { bytes } = this.#one;
    bytes.fill(0);
    bytes.writeUInt32LE((kind === 'process' ? EPOLLIN : 0) | EPOLLONESHOT, 0);
    bytes.writeUInt32LE(fd, DATA);
    return result(epollCtlCall(this.fd, EPOLL_CTL_ADD, fd, this.#one.address));
  }
  remove(fd: number): void {
    epollCtlCall(this.fd, EPOLL_CTL_DEL, fd, this.#one.address);
    close(fd);
  }
  /** Descriptors whose other side is gone, each once. */
  take(): number[] {
    const taken: number[] = [];
    for (;;) {
      const ready = result(epollWaitCall(this.fd, this.#events.address, MOST, 0));
      if (ready === -errno.EINTR) continue;
      for (let i = 0; i < ready; i++) taken.push(this.#events.bytes.readUInt32LE(i * EVENT_BYTES + DATA));
      if (ready < MOST) return taken;
    }
  }
}
