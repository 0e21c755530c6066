import { test } from 'tap';
import { parseWindow, windowAt, windowText } from './windows.js';

const at = (text: string): number => Date.parse(text);
const iso = (moment: number | undefined): string | undefined =>
  moment === undefined ? undefined : new Date(moment).toISOString();

test('a window is read and written in one form; anything else is refused by name', async (t) => {
  const same = ['at:02:00,for:15m,zone:UTC', 'at:23:59,for:1440m,days:mon+wed+sun,zone:Europe/Berlin,uses:3'];
  for (const text of same) t.equal(windowText(parseWindow(text)), text);
  t.equal(windowText(parseWindow('for:2h,at:02:00')), 'at:02:00,for:120m,zone:UTC');
  t.equal(
    windowText(parseWindow('at:02:00,for:24h,days:mon-fri')),
    'at:02:00,for:1440m,days:mon+tue+wed+thu+fri,zone:UTC',
  );
  t.equal(
    windowText(parseWindow('at:02:00,for:1m,days:sat-mon')),
    'at:02:00,for:1m,days:mon+sat+sun,zone:UTC',
  );
  t.equal(windowText(parseWindow('at:02:00,for:1m,days:mon-sun')), 'at:02:00,for:1m,zone:UTC', 'every day');
  for (const wrong of [
    '',
    'at:02:00',
    'for:15m',
    'at:24:00,for:15m',
    'at:2:00,for:15m',
    'at:02:60,for:15m',
    'at:02:00,for:0m',
    'at:02:00,for:25h',
    'at:02:00,for:15s',
    'at:02:00,for:15m,days:',
    'at:02:00,for:15m,days:monday',
    'at:02:00,for:15m,days:mon-fri-sun',
    'at:02:00,for:15m,days:mon-',
    'at:02:00,for:15m,uses:0',
    'at:02:00,for:15m,uses:1.5',
    'at:02:00,for:15m,zone:Mars/Olympus',
    'at:02:00,at:03:00,for:15m',
    'at:02:00,for:15m,colour:red',
  ]) {
    t.throws(() => parseWindow(wrong), { code: 'usage' }, JSON.stringify(wrong));
  }
});

test('it is open from its first moment to before its last, over midnight too, on its days alone', async (t) => {
  const night = parseWindow('at:23:30,for:1h,days:fri,zone:Europe/Berlin');
  // 2026-11-27 is a Friday; Berlin is an hour ahead of UTC then.
  const opens = at('2026-11-27T22:30:00Z');
  for (const [moment, expected] of [
    [opens - 1, undefined],
    [opens, opens],
    [opens + 3_599_999.4873, opens],
    [opens + 3_600_000, undefined],
    [opens + 86_400_000, undefined],
    [opens - 86_400_000, undefined],
  ] as const) {
    t.equal(iso((await windowAt(night, moment)).open?.opens), iso(expected), String(iso(moment)));
  }
  t.equal(iso((await windowAt(night, opens)).next), '2026-12-04T22:30:00.000Z', 'the next one is in a week');
  t.equal(iso((await windowAt(night, opens - 1)).next), iso(opens));
  const daily = parseWindow('at:00:00,for:24h');
  t.ok((await windowAt(daily, at('2026-11-27T23:59:59.999Z'))).open, 'a day long, every day: always');
});

test('on the day that the clock is set forward a time that is left out comes as much later, once', async (t) => {
  const zone = parseWindow('at:02:30,for:15m,zone:Europe/Berlin');
  // At 02:00 it becomes 03:00: 01:00 UTC.
  const opens = at('2026-03-29T01:30:00Z');
  t.equal(iso((await windowAt(zone, at('2026-03-29T00:00:00Z'))).next), iso(opens), '03:30 there');
  t.equal((await windowAt(zone, at('2026-03-29T01:00:00Z'))).open, undefined, 'not at 03:00');
  t.same((await windowAt(zone, opens)).open, { opens, closes: opens + 900_000 });
  t.equal(iso((await windowAt(zone, opens)).next), '2026-03-30T00:30:00.000Z', 'a day later at its own time');
});

test('on the day that the clock is set back a time that comes twice counts the first time', async (t) => {
  const zone = parseWindow('at:02:30,for:45m,zone:Europe/Berlin');
  const opens = at('2026-10-25T00:30:00Z');
  t.same(
    (await windowAt(zone, opens)).open,
    { opens, closes: opens + 2_700_000 },
    '45 minutes of elapsed time',
  );
  t.equal((await windowAt(zone, at('2026-10-25T01:30:00Z'))).open, undefined, 'not the second time');
  t.equal(iso((await windowAt(zone, opens)).next), '2026-10-26T01:30:00.000Z');
  // In a zone with a gap of a whole day: Samoa had no 2011-12-30.
  const samoa = parseWindow('at:12:00,for:1h,zone:Pacific/Apia');
  let count = 0;
  for (
    let moment = at('2011-12-27T00:00:00Z'), last = 0;
    moment < at('2012-01-03T00:00:00Z');
    moment += 1_800_000
  ) {
    const { open } = await windowAt(samoa, moment);
    if (open !== undefined && open.opens !== last) {
      last = open.opens;
      count++;
    }
  }
  t.ok(count >= 6 && count <= 7, `${count} times in the week without that day`);
});
