import type { SecretInput } from '../../libc/memory.js';

/** A text as it is stretched: UTF-8 in normalisation form C, anything else as it is. The caller wipes what it gets. */
export type Composer = (text: SecretInput) => Promise<SecretInput>;
