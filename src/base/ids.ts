import { randomBytes } from 'node:crypto';

declare const brand: unique symbol;
type Branded<T, B extends string> = T & { readonly [brand]: B };

/** 16 random bytes in lower-case hexadecimal (32 characters). Not a secret. */
export type ScopeId = Branded<string, 'ScopeId'>;
export type VolumeId = Branded<string, 'VolumeId'>;
export type LeaseId = Branded<string, 'LeaseId'>;

const pattern = /^[0-9a-f]{32}$/;

export function isId(text: string): boolean {
  return pattern.test(text);
}

function parse(text: string, what: string): string {
  if (!pattern.test(text)) throw new RangeError(`not a ${what}: ${JSON.stringify(text)}`);
  return text;
}

export const scopeId = (text: string): ScopeId => parse(text, 'scope id') as ScopeId;
export const volumeId = (text: string): VolumeId => parse(text, 'volume id') as VolumeId;

/** A fresh identifier from the kernel's generator. */
export function freshId<T extends ScopeId | VolumeId | LeaseId>(): T {
  return randomBytes(16).toString('hex') as T;
}

/** The 16 bytes of an id. */
export function idBytes(id: ScopeId | VolumeId | LeaseId): Buffer {
  return Buffer.from(id, 'hex');
}
