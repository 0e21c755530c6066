import { errno } from '../base/errno.js';
import { type Doorbell, word } from '../libc/doorbell.js';
import { read } from '../libc/files.js';
import { Poll, systemClock } from '../libc/system.js';
import type { Session } from './session.js';

/**
 * After a request the next one is often microseconds away: read again for so long before sleeping in poll(2). Saves
 * a wake-up a request (stat 61 us blocking, 37 us spinning, FACTS.md); an idle mount costs nothing.
 */
const SPIN_MS = 0.04;

/** A sleep may last through a suspend, which its timer does not count: while anything has an end it is short (ms). */
const LONGEST_SLEEP_MS = 1000;

/** A busy device keeps the thread out of poll(2): so often (ms) it looks all the same. */
const LOOK_MS = 100;
/** Its place among the polled. */
const WATCHED = 1 << 2;

interface LoopHooks {
  /** Milliseconds (CLOCK_BOOTTIME) of the next deadline. */
  due(): number;
  tick(now: number): void;
  /** Messages from other threads are waiting. */
  commands(): void;
  /** Jobs are done. */
  completions(): void;
  /** Readable when {@link hangups} has something to do. */
  readonly watched: number;
  /** Processes and connections that hold leases have ended. */
  hangups(): void;
  /** Goes on with a long computation for a moment; false: there is none. */
  slice(): boolean;
}

/** Reads requests until the filesystem is unmounted. */
export function serve(fd: number, session: Session, doorbell: Doorbell, hooks: LoopHooks): void {
  const poll = new Poll([fd, doorbell.bell, hooks.watched]);
  let busyUntil = 0;
  let lookAt = 0;
  for (;;) {
    if (doorbell.take(word.JOBS)) hooks.completions();
    if (doorbell.take(word.MAIL)) hooks.commands();
    const due = hooks.due();
    if (due !== Number.POSITIVE_INFINITY) {
      const now = systemClock.boottime();
      if (now >= due) hooks.tick(now);
    }
    const { buffer } = session;
    const length = read(fd, buffer.address, buffer.bytes.length);
    if (length > 0) {
      session.handle(length);
      hooks.slice();
      const at = performance.now();
      if (at > lookAt) {
        hooks.hangups();
        lookAt = at + LOOK_MS;
      }
      busyUntil = -1;
      continue;
    }
    if (length === -errno.ENODEV) return;
    // ENOENT: the request was taken back; EINTR: a signal.
    if (length !== -errno.EAGAIN) continue;
    if (hooks.slice()) {
      busyUntil = -1;
      continue;
    }
    if (busyUntil === -1) busyUntil = performance.now() + SPIN_MS;
    if (performance.now() < busyUntil) continue;
    const next = hooks.due();
    const wait =
      next === Number.POSITIVE_INFINITY ? -1 : Math.max(0, Math.ceil(next - systemClock.boottime()));
    if ((doorbell.sleep(poll, 1, Math.min(wait, LONGEST_SLEEP_MS)) & WATCHED) !== 0) hooks.hangups();
  }
}
