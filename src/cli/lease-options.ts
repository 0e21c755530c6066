import type { Command } from 'commander';
import { Failure } from '../base/failure.js';
import type { LeaseOptions } from '../control/client/client.js';

/** As commander gives them. */
export interface LeaseFlags {
  ttl?: string;
  maxTtl?: string;
  idle?: string;
  until?: string;
  pid?: string;
  visibleTo?: string;
  ro?: boolean;
  budget?: string;
  purpose?: string;
  wait?: string;
}

/** What a lease may be asked for, in every verb that asks for one. */
export function leaseFlags(command: Command): Command {
  return command
    .option('--ttl <duration>', 'lock again after this time: 30s, 15m, 2h, 1d')
    .option('--max-ttl <duration>', 'however often it is renewed')
    .option('--idle <duration>', 'lock after so long without an open file or an operation')
    .option('--until <time>', '18:30 (the next one here), or RFC 3339: 2026-12-24T18:30:00Z')
    .option('--ro', 'read-only')
    .option('--budget <limits>', 'what may be taken out: bytes:500M,files:20,per:lease|hour,over:lock|deny')
    .option('--wait <duration>', 'for a lock that is under way, or waits for others')
    .option('--purpose <text>', 'what for: leases and the audit show it');
}

/** A time of day, today's or tomorrow's in the local time zone; or RFC 3339 as it stands. */
export function momentOf(text: string, now = new Date()): string {
  const match = /^([01]?[0-9]|2[0-3]):([0-5][0-9])$/.exec(text);
  if (match === null) {
    if (/^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(Date.parse(text))) return text;
    throw new Failure('usage', `not a time: ${JSON.stringify(text)}`, {
      reason: 'end_form',
    });
  }
  const moment = new Date(now);
  moment.setHours(Number(match[1]), Number(match[2]), 0, 0);
  if (moment <= now) moment.setDate(moment.getDate() + 1);
  return moment.toISOString();
}

/**
 * Who `self` is: to the daemon it is this process, which ends with a verb like unlock. So it is the shell or program that
 * started it.
 */
const callerOf = (who: string | undefined): string | undefined =>
  who?.replaceAll(/(?<=^|,)tree:self(?=,|$)/g, `tree:${process.ppid}`);

/** For a lease that outlives this process. */
export function lastingLeaseOptions(flags: LeaseFlags): LeaseOptions {
  const pid = flags.pid === 'self' ? `${process.ppid}` : flags.pid;
  return { ...leaseOptions(flags), pid, visible_to: callerOf(flags.visibleTo) };
}

export function leaseOptions(flags: LeaseFlags): LeaseOptions {
  return {
    ttl: flags.ttl,
    max_ttl: flags.maxTtl,
    idle: flags.idle,
    until: flags.until === undefined ? undefined : momentOf(flags.until),
    pid: flags.pid,
    visible_to: flags.visibleTo,
    ro: flags.ro === true ? '1' : undefined,
    budget: flags.budget,
    purpose: flags.purpose,
    wait: flags.wait,
  };
}
