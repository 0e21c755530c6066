import { readFileSync } from 'node:fs';
import type { SecretMemory } from '../libc/memory.js';
import type { AeadSuite } from './aead.js';
import { Xaes256Gcm } from './xaes.js';
import { XChaCha20Poly1305 } from './xchacha.js';

/** The suites by the name that people use; `id` is what the volume record stores. */
export const suites = {
  xaes: { id: 1, make: (memory: SecretMemory): AeadSuite => new Xaes256Gcm(memory) },
  xchacha: { id: 2, make: (memory: SecretMemory): AeadSuite => new XChaCha20Poly1305(memory) },
} as const;
export type SuiteName = keyof typeof suites;
export const suiteNames = Object.keys(suites) as SuiteName[];

/** The suite of a volume record, or undefined for one that this build does not know. */
export function suiteName(id: number): SuiteName | undefined {
  return suiteNames.find((name) => suites[name].id === id);
}

/** What fits this processor: AES without its instructions is slow and leaks through caches. */
export function defaultSuite(cpuinfo = readFileSync('/proc/cpuinfo', 'utf8')): SuiteName {
  // x86 lists `flags`, arm64 `Features`.
  return /^(?:flags|Features)\s*:.*\baes\b/m.test(cpuinfo) ? 'xaes' : 'xchacha';
}
