/** Call `after(this, …arguments)` after a method, which other code may also have replaced. */
export function chain(owner, method, after) {
  const before = owner[method];
  owner[method] = function (...given) {
    const returned = before?.apply(this, given);
    after(this, ...given);
    return returned;
  };
}
