/** A service that never ends by itself. */

setInterval(() => undefined, 1000);
