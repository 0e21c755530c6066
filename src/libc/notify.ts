import { Errno } from '../base/errno.js';
import { libcFunction, result } from './ffi.js';
import { close } from './files.js';
import { pinned } from './memory.js';

const socketCall = libcFunction('socket', 'i', 'iii');
const sendtoCall = libcFunction('sendto', 'l', 'ippipi');

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** sun_path of struct sockaddr_un (unix(7)). */
const PATH_MAX = 108;

/**
 * Tells the service manager something, as sd_notify(3): one datagram to $NOTIFY_SOCKET. False where there is none.
 * @throws Errno where the manager's socket refuses
 */
export function notifyManager(state: string, socket = process.env.NOTIFY_SOCKET): boolean {
  if (socket === undefined || socket === '') return false;
  const path = Buffer.from(socket);
  const abstract = path[0] === 0x40;
  if ((!abstract && path[0] !== 0x2f) || path.length > PATH_MAX - (abstract ? 0 : 1)) {
    throw new Errno(22, 'sendto', 'NOTIFY_SOCKET');
  }
  const address = pinned(2 + PATH_MAX);
  address.bytes.writeUInt16LE(AF_UNIX, 0);
  path.copy(address.bytes, 2);
  // An abstract name begins with NUL and has exactly its length; a path ends with NUL.
  if (abstract) address.bytes[2] = 0;
  const message = pinned(Buffer.byteLength(state));
  message.bytes.write(state);
  const fd = result(socketCall(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  if (fd < 0) throw new Errno(-fd, 'socket');
  const length = 2 + path.length + (abstract ? 0 : 1);
  const { bytes, address: at } = message;
  const sent = result(sendtoCall(fd, at, bytes.length, MSG_NOSIGNAL, address.address, length));
  close(fd);
  if (sent < 0) throw new Errno(-sent, 'sendto', socket);
  return true;
}
