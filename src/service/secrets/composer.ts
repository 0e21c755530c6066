import { errno } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import { read } from '../../libc/files.js';
import { SecretInput } from '../../libc/memory.js';
import { childWith } from './secret-child.js';

const ASCII_END = 0x80;

/**
 * What people type, in Unicode's normalisation form C where it is UTF-8: keyboards and systems give one letter as one code
 * point or as two. ASCII is in that form; for the rest JavaScript has strings alone, so in a process of its own.
 */
export async function composed(text: SecretInput): Promise<SecretInput> {
  const out = new SecretInput();
  if (text.view.every((byte) => byte < ASCII_END)) {
    out.copy(text);
    return out;
  }
  try {
    await childWith({ op: 'compose', bytes: text.length }, [text], (fd) => {
      for (;;) {
        const got = out.fill((address, room) => read(fd, address, room));
        if (got === -errno.EINTR) continue;
        if (got < 0) throw new Failure('internal', 'the composed passphrase did not arrive');
        if (got === 0) return;
      }
    });
    return out;
  } catch (error) {
    out.wipe();
    throw error;
  }
}
