/** A service that ends itself by a signal, as the service harness does where it cannot end otherwise. */

process.kill(process.pid, 'SIGKILL');
setInterval(() => undefined, 1000);
