import { test } from 'tap';
import { MOST_EPOCHS } from '../../keyring/slots/scope-secrets.js';
import { SECRETS } from './mounted-vault.js';

test('secret memory of the main thread has room for all epochs of some scopes at the same time', async (t) => {
  t.ok(SECRETS > 4 * MOST_EPOCHS);
});
