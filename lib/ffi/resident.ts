/**
 * Keeps ffi-napi's binary loaded. Imported, for this effect alone, by whoever starts a worker thread that uses FFI:
 * when such a thread ends, Node unloads the binaries that only this thread had loaded, and then runs the thread's
 * last close callbacks, one of which lies in ffi-napi: the process died of SIGSEGV each time (Node 20, ffi-napi 4.0.9).
 * A binary that the main thread has loaded too stays.
 */
import 'ffi-napi';
