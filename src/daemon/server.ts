import { opensslLibrary } from '../libc/ffi.js';
import { endOnThrow } from '../libc/process-end.js';
import { forbidDumps } from '../libc/system.js';
import { openLog } from './log.js';
import type { ServerArguments } from './server-start.js';
import { VaultServer } from './vault-server.js';

/** The server process: `scopefs mount` starts it with the device and the vault's lock inherited. */
endOnThrow('server');
// SIGUSR1 would open Node's inspector to any process of this user.
process.on('SIGUSR1', () => {});
process.umask(0o077);
process.chdir('/');
forbidDumps();

const argument = JSON.parse(process.argv.at(-1) ?? '{}') as ServerArguments;
const log = openLog(argument.journal);
if (opensslLibrary !== undefined) {
  log.info('this node binary exports no OpenSSL: another stands in', { library: opensslLibrary });
}
const server = new VaultServer(argument, log);
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void server.stop());
void server.run();
