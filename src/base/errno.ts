/**
 * Linux error numbers (asm-generic/errno.h): the currency of the core, of libc/ and of FUSE replies.
 * Calls return `-errno` as the kernel does; only code that cannot go on throws an {@link Errno}.
 */
export const errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOVERFLOW: 75,
  EILSEQ: 84,
  EOPNOTSUPP: 95,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  ESTALE: 116,
  EDQUOT: 122,
  ENOPROTOOPT: 92,
  ENOKEY: 126,
} as const;

export type ErrnoName = keyof typeof errno;

const names = new Map<number, ErrnoName>(
  Object.entries(errno).map(([name, value]) => [value, name as ErrnoName]),
);

/** The symbolic name of an error number, or `errno N` for one that is not in the table. */
export function errnoName(value: number): string {
  return names.get(value) ?? `errno ${value}`;
}

/** A failed system call: which call, on what, and why. `number` is positive. */
export class Errno extends Error {
  readonly number: number;
  readonly syscall: string;
  readonly subject: string;
  constructor(number: number, syscall: string, subject = '') {
    super(`${syscall}${subject === '' ? '' : ` ${subject}`}: ${errnoName(number)}`);
    this.name = 'Errno';
    this.number = number;
    this.syscall = syscall;
    this.subject = subject;
  }
  get code(): string {
    return errnoName(this.number);
  }
}

/** Passes a result on, or throws the {@link Errno} that a negative one stands for. */
export function check(result: number, syscall: string, subject = ''): number {
  if (result < 0) throw new Errno(-result, syscall, subject);
  return result;
}
