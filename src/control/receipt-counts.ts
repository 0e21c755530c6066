/**
 * What a lock counts: its name in replies and the core's. People read the first, with spaces. Here, and where the core counts,
 * is all that a new one needs.
 */
export const receiptCounts = {
  leases_ended: 'leasesEnded',
  handles_cut: 'handlesCut',
  inodes_invalidated: 'inodesInvalidated',
} as const;
export type ReceiptCount = keyof typeof receiptCounts;
type Counted = Readonly<Record<(typeof receiptCounts)[ReceiptCount], number>>;

const names = Object.keys(receiptCounts) as ReceiptCount[];

/** Something for each count. */
export const perCount = <T>(of: (count: ReceiptCount) => T): Record<ReceiptCount, T> =>
  Object.fromEntries(names.map((name) => [name, of(name)])) as Record<ReceiptCount, T>;

/** A core's counts as replies have them. */
export const countsOf = (receipt: Counted): Record<ReceiptCount, number> =>
  perCount((name) => receipt[receiptCounts[name]]);

/** A reply's counts for people. */
export const countTexts = (receipt: Readonly<Record<ReceiptCount, number>>): string[] =>
  names.map((name) => `${name.replaceAll('_', ' ')} ${receipt[name]}`);
