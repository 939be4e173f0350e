/** Let `after(this, …arguments)` follow a method that others may have set, or may set later. */
export function chain(owner, method, after) {
  const before = owner[method];
  owner[method] = function (...given) {
    const returned = before?.apply(this, given);
    after(this, ...given);
    return returned;
  };
}
