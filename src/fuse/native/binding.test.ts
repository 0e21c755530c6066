import { test } from 'tap';
import { Failure } from '../../base/failure.js';
import { loadBinding } from './binding.js';

function failing(message: string, code?: string): () => never {
  return () => {
    throw Object.assign(new Error(message), code === undefined ? {} : { code });
  };
}
function failureOf(load: () => unknown): Failure {
  try {
    loadBinding(load);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it loaded');
}

test('what the binding lacks is said, with its reason', async (t) => {
  const library = 'libfuse.so.2: cannot open shared object file: No such file or directory';
  const missing = failureOf(failing(library, 'ERR_DLOPEN_FAILED'));
  t.match(missing.message, 'needs libfuse 2: libfuse.so.2');
  t.equal(missing.reason, 'libfuse_missing');
  const none = failureOf(failing("Cannot find module 'fuse-native'\nRequire stack:", 'MODULE_NOT_FOUND'));
  t.match(none.message, 'is not installed');
  t.equal(none.reason, 'binding_missing');
  const other = failureOf(failing('No native build was found for platform=linux arch=arm64'));
  t.match(other.message, 'cannot be loaded: No native build was found');
  t.equal(other.reason, 'binding_unloadable');
  for (const { code } of [missing, none, other]) t.equal(code, 'unsupported_system');
});
