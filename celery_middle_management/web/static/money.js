// What the workers cost, in words.

const dollar = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const hour = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", timeZone: "UTC" });

/** "this month", or since when the bill has some of it. */
function period({ since }) {
  const begin = new Date(since);
  const whole = begin.getUTCDate() === 1 && begin.getTime() % 86_400_000 === 0;
  return whole ? "this month" : `since ${day.format(begin)}`;
}

/** Dollars; where a price is not known, hours. */
function told(sum, priced) {
  if (!priced) return `${hour.format(sum.hours)} h`;
  return sum.dollars === null ? `price unknown, ${hour.format(sum.hours)} h` : dollar.format(sum.dollars);
}

function less(saved) {
  return saved === null ? "" : `, ${Math.round(saved * 100)} % less`;
}

/** The total for the whole app: a term, a number, and what it is compared with; none if unknown. */
export function totalOf(money) {
  if (!money?.since) return [];
  const { month, today, always_on: always, saved, priced } = money;
  const about = `${told(today, priced)} today; max_workers always on: ${told(always, priced)}${less(saved)}`;
  return [[`${priced ? "Cost" : "Worker time"} ${period(money)}`, told(month, priced), about]];
}

/** What one pool costs, in a sentence; null if it is not known. */
export function costOf(money, name) {
  const pool = money?.since && money.pools.find((its) => its.name === name);
  if (!pool) return null;
  const { priced } = money;
  return `${told(pool.today, priced)} today, ${told(pool.month, priced)} ${period(money)}; `
    + `max_workers always on: ${told(pool.always_on, priced)}${less(pool.saved)}`;
}
