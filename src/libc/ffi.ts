import koffi from 'koffi';

/**
 * The one place that declares foreign functions. Addresses are Numbers (user space ends below 2^47), declared as
 * uint64_t; everything else is an integer: koffi's fast path (24-50 ns a call, FACTS.md).
 * `ssize_t` is unknown to koffi: int64_t. Variadic functions (open, ioctl, syscall) are declared with the
 * arguments that we pass, which is the same call on x86-64 and arm64 Linux.
 */
export type Address = number;
type Integer = number;
type Call = (...args: Integer[]) => Integer;

const c = koffi.load('libc.so.6');
type Library = ReturnType<typeof koffi.load>;

const word = 'uint64_t';

function declare(library: Library, name: string, result: string, args: string[]): Call {
  return library.func(name, result, args) as unknown as Call;
}

/** Declares a libc function that returns -1 and sets errno. `i` int, `u` unsigned, `l` int64, `p` address or size. */
const letters: Record<string, string> = { i: 'int', u: 'uint32_t', l: 'int64_t', p: word };

export function libcFunction(name: string, result: string, args: string): Call {
  return declare(
    c,
    name,
    letters[result] as string,
    [...args].map((letter) => letters[letter] as string),
  );
}

/** Where OpenSSL 3 can come from. `null` is the node binary itself, which exports the one it is linked with. */
const opensslNames = [null, 'libcrypto.so.3'] as const;

/** The first of `names` that has OpenSSL 3 (EVP_CIPHER_fetch is new in it), or undefined. */
export function findOpenssl(
  names: readonly (string | null)[],
): { library: Library; name: string | null } | undefined {
  for (const name of names) {
    try {
      const library = koffi.load(name);
      declare(library, 'EVP_CIPHER_fetch', word, [word, word, word]);
      return { library, name };
    } catch {
      // Not there, or without these symbols: the next.
    }
  }
  return undefined;
}
const openssl = findOpenssl(opensslNames);
/** Undefined: the node binary's own; else the library that stands in for it. */
export const opensslLibrary = openssl?.name ?? undefined;

/** Declares a function of OpenSSL, or undefined where there is none. */
export function opensslFunction(name: string, result: string, args: string): Call | undefined {
  if (openssl === undefined) return undefined;
  try {
    return declare(
      openssl.library,
      name,
      letters[result] as string,
      [...args].map((letter) => letters[letter] as string),
    );
  } catch {
    return undefined;
  }
}

/** As {@link opensslFunction}, run on a thread of the pool: for main-thread calls that take long. */
export function opensslAsync(
  name: string,
  result: string,
  args: string,
): ((...args: Integer[]) => Promise<Integer>) | undefined {
  const call = opensslFunction(name, result, args);
  return call === undefined ? undefined : onPool(call);
}
/** As {@link libcFunction}, run on a thread of the pool: -1 where it fails, and errno is that thread's. */
export function libcAsync(
  name: string,
  result: string,
  args: string,
): (...args: Integer[]) => Promise<Integer> {
  return onPool(libcFunction(name, result, args));
}
function onPool(call: Call): (...args: Integer[]) => Promise<Integer> {
  const foreign = call as unknown as { async: (...args: unknown[]) => void };
  return (...values) =>
    new Promise((resolve, reject) => {
      foreign.async(...values, (error: Error | null, value: Integer) =>
        error === null ? resolve(value) : reject(error),
      );
    });
}

/**
 * The address of a Buffer's first byte. The caller must keep the Buffer: an address alone does not, and V8 frees
 * what only an address knows (a prototype died of it some thousand requests later).
 */
export function addressOf(bytes: Buffer): Address {
  return Number(koffi.address(bytes));
}

/** Memory at an address as a Buffer, never freed by us. Not for use per operation: views leak without an event loop. */
export function viewAt(address: Address, length: number): Buffer {
  return Buffer.from(koffi.view(address, length));
}

/** Memory at an address as an ArrayBuffer, for typed arrays. */
export function arrayBufferAt(address: Address, length: number): ArrayBuffer {
  return koffi.view(address, length) as ArrayBuffer;
}

const location = libcFunction('__errno_location', 'p', '');
/** errno of this thread (each worker imports this module anew, so each has its own view). */
const errnoCell = new Int32Array(koffi.view(location(), 4));

/** Turns the C convention (-1 and errno) into the kernel's: the result, or -errno. */
export function result(value: number): number {
  return value === -1 ? -(errnoCell[0] as number) : value;
}
