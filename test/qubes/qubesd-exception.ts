/** What the stand-in for qubesd refuses with. */

/** An exception that reaches the caller: its type and its message. */
export class QubesException extends Error {
  readonly type: string;

  constructor(type: string, message: string) {
    super(message);
    this.type = type;
  }
}

/** Python's own exceptions: the real qubesd writes them to its journal and answers nothing. */
export class Unhandled extends Error {}

export const protocolError = (message: string): QubesException =>
  new QubesException('ProtocolError', message);
export const valueError = (message: string): QubesException => new QubesException('QubesValueError', message);
export const propertyValueError = (message: string): QubesException =>
  new QubesException('QubesPropertyValueError', message);
export const permissionDenied = (reason: string): QubesException =>
  new QubesException('PermissionDenied', `Argument not in '${reason}'`);
export const noSuchVm = (name: string): QubesException =>
  new QubesException('QubesVMNotFoundError', `No such domain: '${name}'`);
export const vmInUse = (message: string): QubesException => new QubesException('QubesVMInUseError', message);
export const notHalted = (name: string, message = `Domain is not powered off: '${name}'`): QubesException =>
  new QubesException('QubesVMNotHaltedError', message);
export const notStarted = (name: string, message = `Domain is powered off: '${name}'`): QubesException =>
  new QubesException('QubesVMNotStartedError', message);
