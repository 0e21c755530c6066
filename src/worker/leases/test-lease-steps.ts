import fc from 'fast-check';

/** What three clients, the kernel's cache and the clock may do, for the model of leases (test-lease-sequence.ts). */

export type Kind = 'any' | 'uid:1' | 'uid:2';
export type Step =
  | {
      op: 'unlock';
      client: number;
      kind: Kind;
      ro: boolean;
      ttl: number | undefined;
      held: boolean;
      idle: boolean;
    }
  | { op: 'revoke' | 'hangup'; nth: number }
  | { op: 'renew'; nth: number; ttl: number }
  | { op: 'lock' | 'panic' | 'stall' | 'release' }
  | { op: 'pass' | 'suspend'; ms: number }
  | { op: 'read' | 'write' | 'rename' | 'stat' | 'keep' | 'sneak'; uid: number }
  | { op: 'readKept' | 'closeKept'; nth: number };

const uid = fc.constantFrom(0, 1, 2);
const nth = fc.nat({ max: 7 });
const ms = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 300, max: 12_000 }));
export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('unlock' as const),
      client: fc.nat({ max: 2 }),
      kind: fc.constantFrom<Kind>('any', 'uid:1', 'uid:1', 'uid:2'),
      ro: fc.boolean(),
      ttl: fc.option(fc.integer({ min: 100, max: 9_000 }), { nil: undefined }),
      held: fc.boolean(),
      idle: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constantFrom('revoke' as const, 'hangup' as const), nth }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('renew' as const),
      nth,
      ttl: fc.integer({ min: 100, max: 9_000 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom('lock' as const, 'panic' as const, 'stall' as const, 'release' as const),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constantFrom('pass' as const, 'pass' as const, 'suspend' as const), ms }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constantFrom(
        'read' as const,
        'write' as const,
        'rename' as const,
        'stat' as const,
        'keep' as const,
        'sneak' as const,
      ),
      uid,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constantFrom('readKept' as const, 'closeKept' as const), nth }),
  },
);
