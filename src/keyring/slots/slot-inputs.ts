import { Failure } from '../../base/failure.js';
import { defaultCost, extract, type ScryptCost, stretch } from '../../crypto/stretch.js';
import { type Pinned, pinned, randomFill, type Secret, type SecretInput } from '../../libc/memory.js';
import { readRecoveryText } from './recovery-text.js';

/** Bytes of a key file, taken exactly (PRODUCT.md); a passphrase has as many at the most. */
const KEYFILE = { least: 32, most: 4096 } as const;
/** Bytes of a secret that scopefs makes itself, and nobody types. */
const OWN_SECRET = 32;

/** What a slot's secret is as a caller brings it, and how the slot's key follows from it. */
export interface SlotInput {
  /** @throws Failure usage where it can't be the secret of a new slot */
  check(input: SecretInput): void;
  /** Whether it may be such a secret: no other is tried. */
  fits(input: SecretInput): boolean;
  /** Writes the slot's key, 32 bytes. `cost`: where it is stretched. */
  key(input: SecretInput, salt: Pinned, cost: ScryptCost | undefined, into: Secret): void | Promise<void>;
  /** By scrypt, because people can guess it: its slots have a cost. */
  readonly stretched: boolean;
}

const exactly: Pick<SlotInput, 'key' | 'stretched'> = {
  key: (input, salt, _cost, into) => extract(input.address, input.length, salt, into),
  stretched: false,
};

/** Random bytes of another's making, taken exactly. */
export const keyBytes = (what: string): SlotInput => ({
  ...exactly,
  fits: ({ length }) => length >= KEYFILE.least && length <= KEYFILE.most,
  check(input) {
    if (this.fits(input)) return;
    throw new Failure(
      'usage',
      `${what} has ${KEYFILE.least} to ${KEYFILE.most} bytes, this one has ${input.length}`,
      { reason: 'keyfile_length' },
    );
  },
});

/** What scopefs made. */
export const ownBytes: SlotInput = {
  ...exactly,
  fits: ({ length }) => length === OWN_SECRET,
  check(input) {
    if (this.fits(input)) return;
    throw new Failure(
      'usage',
      `the secret of such a slot has ${OWN_SECRET} bytes, this one has ${input.length}`,
      { reason: 'made_secret_length' },
    );
  },
};

const recovery = pinned(32);

/** A recovery key as people copy it. */
export const recoveryLetters: SlotInput = {
  stretched: false,
  fits(input) {
    const reads = readRecoveryText(input, recovery.bytes);
    randomFill(recovery.address, 32);
    return reads;
  },
  check(input) {
    if (this.fits(input)) return;
    throw new Failure('usage', 'that is not a recovery key: 64 letters of cbdefghijklnrtuv', {
      reason: 'recovery_form',
    });
  },
  key(input, salt, _cost, into) {
    readRecoveryText(input, recovery.bytes);
    extract(recovery.address, 32, salt, into);
    randomFill(recovery.address, 32);
  },
};

/** A passphrase; one trailing newline is none of it. */
export const typedText: SlotInput = {
  stretched: true,
  fits: ({ lengthWithoutNewline: length }) => length > 0 && length <= KEYFILE.most,
  check({ lengthWithoutNewline: length }) {
    if (length === 0) throw new Failure('usage', 'the passphrase is empty');
    if (length > KEYFILE.most) {
      throw new Failure('usage', `the passphrase is longer than ${KEYFILE.most} bytes`);
    }
  },
  key: (input, salt, cost, into) =>
    stretch(input.address, input.lengthWithoutNewline, salt, cost ?? defaultCost, into),
};
