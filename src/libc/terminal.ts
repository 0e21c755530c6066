import { libcAsync, libcFunction } from './ffi.js';
import { pinned, type SecretInput } from './memory.js';

const ioctlCall = libcFunction('ioctl', 'i', 'ipp');
const readCall = libcAsync('read', 'l', 'ipp');

/** ioctl_tty(2). TCSETSW waits for output and leaves what was typed ahead where it is, for the next who reads. */
const TCGETS = 0x5401;
const TCSETSW = 0x5403;
/** struct termios of asm-generic/termbits.h: four words of flags, a byte, 19 characters. */
const TERMIOS = { bytes: 36, input: 0, local: 12 } as const;
const input = { INLCR: 0o100, IGNCR: 0o200, ICRNL: 0o400, IUTF8: 0o40000 } as const;
const local = { ISIG: 0o1, ICANON: 0o2, ECHO: 0o10, ECHONL: 0o100, IEXTEN: 0o100000 } as const;

/** A line longer than this is cut by the terminal, without a word (N_TTY_BUF_SIZE, termios(3)). */
export const MOST_TYPED = 4095;

/**
 * Has a terminal read lines as it always does (erase, word erase, kill, literal next, whole UTF-8 characters, signals) but
 * without echo, while `work` runs. Node sets it back where a signal ends the process meanwhile.
 */
async function withoutEcho<T>(fd: number, work: () => Promise<T>): Promise<T> {
  const before = pinned(TERMIOS.bytes);
  if (ioctlCall(fd, TCGETS, before.address) < 0) throw new Error('not a terminal');
  const quiet = pinned(TERMIOS.bytes);
  before.bytes.copy(quiet.bytes);
  const change = (at: number, set: number, clear: number): void => {
    quiet.bytes.writeUInt32LE(((quiet.bytes.readUInt32LE(at) & ~clear) | set) >>> 0, at);
  };
  change(TERMIOS.input, input.ICRNL | input.IUTF8, input.INLCR | input.IGNCR);
  change(TERMIOS.local, local.ICANON | local.ISIG | local.IEXTEN, local.ECHO | local.ECHONL);
  const silence = (): void => {
    ioctlCall(fd, TCSETSW, quiet.address);
  };
  // A shell that stopped us (^Z) has its own modes meanwhile.
  process.on('SIGCONT', silence);
  silence();
  try {
    return await work();
  } finally {
    process.off('SIGCONT', silence);
    ioctlCall(fd, TCSETSW, before.address);
  }
}

/**
 * Reads one line from a terminal, without echo and without its newline, straight into secret memory. What is typed or
 * pasted beyond it stays in the terminal. False: nothing came (end of file, hangup).
 */
export function readLine(fd: number, into: SecretInput): Promise<boolean> {
  return withoutEcho(fd, async () => {
    const got = await into.fillLater((address, room) => readCall(fd, address, room));
    into.erase(into.length - into.lengthWithoutNewline);
    return got > 0;
  });
}
