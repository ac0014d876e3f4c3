-- Adds what a process reports, and answers whether the caller must make an evaluation now.
-- The first parts of this script are report_state.lua, report_in_flight.lua, report_samples.lua,
-- report_counts.lua and report_workers.lua.

-- ## ReportMessage (msg): ARGV[1], as JSON; with Bounds, if the caller has read the ledger's time
--   pools            PoolCounts of each pool
--   queues           names   queues that were published to and that no pool names
--   queues_left_out  bool    there were more queues than `most_queues`
--   look             bool    a task was published whose pool only a count can find out
--   token            text    of the lease, if the caller gets it
--   more             bool    another part of the same report follows: no lease yet
--   leaving          bool    the caller's process is ending
--   gave_up          bool    that process ends while its evaluation still waits for the platform
--   unseen?          ms      the value of `unseen` in the last reply
--   id?              text    of the worker that reports
--   presence?        JSON    its presence; without it, the worker says goodbye
--   cordon?          name    the field of the state with the cordon that the worker must obey
--   born?            text    the name of the ledger whose calls in flight the caller remembers
--   sent?            InFlight  each of these calls, by `<pool>/fire` or `<pool>/hire`
--   inactive         bool    the caller runs off the platform and never evaluates
--   fine             s       the size of a bucket of due times up to `fine_horizon`
--   coarse           s       the size of a bucket beyond that
--   fine_horizon     s       how far ahead due times have fine buckets
--   gap              ms      the least time between two evaluations
--   interval         ms      the least time between two calls of the platform
--   zero_hold        ms      how long counts are held back while a pool is hired from zero
--   longest_hold     ms      how long counts are held back at most
--   stand_by         ms      how often a publisher reports with nothing to add
--   watches          ms      a worker that reported within this time is relied on to evaluate
--   lock             ms      how long the lock lasts
--   known_to_fail    ms      how long a platform that failed is assumed to go on failing
--   most_queues      count   how many queues are kept
--   expiry           s       how long every key is kept after the last report

-- ## PoolCounts (counts): what happened since the caller's last report
--   maximum          count   the pool's `max_workers`
--   published        [[ms ago, tasks], ...]
--   scheduled        [[ms ahead, tasks], ...]
--   started          tasks
--   waits            s       how long the started tasks waited, in all
--   late             tasks   those of them that waited for longer than the pool's `max_wait`
--   finished         tasks
--   runtime          s       how long the finished tasks ran, in all
--   runtime_squares  s²      the sum of the squares of their run times
--   longest          s       the longest of their run times

-- ## InFlight (told): a call that can still take effect at the platform
--   to               count   workers that it asks for
--   done             bool    the platform has confirmed it
--   left             s       for how long it can still take effect

-- ## ReportReply (reply)
--   now              ms      the ledger's time, as text
--   lease            bool    the caller got the lock, and must evaluate
--   wait             ms      when to report again, even with nothing to add
--   held             ms      how long to hold back each pool's counts: they change nothing sooner
--   born             text    the ledger's name for itself: it differs when the data was lost
--   sent?            JSON    the calls in flight
--   unseen?          ms      when the caller reported something that still waits for an evaluation
--   watched          bool    a worker will evaluate (only to a caller that is leaving)
--   failing          bool    the platform failed or a process gave up on it: no answer since
--   untaken?         s       for how long counts have found messages that the worker did not take
--   counted_at?      ms      when the last count of the worker's pool began
--   cordon?          JSON    the cordon that the worker must obey
--   why?             text    the reason for that cordon

-- ## Before anything is added
-- Without `next_at`, no evaluation was ever made, or the data was lost: one is due now.
local next_at, evaluated = tonumber(old.next_at or now), number('evaluated_at')
local function evaluate_by(time) next_at = math.min(next_at, time) end

take_sample()
local work = restore_calls() -- whether there is something for an evaluation to do
local silence = now - last_report
if newcomer and last_report > 0 and silence > msg.watches then extend_calls(silence) end

local blocked = number('blocked_until')
local failed = math.max(blocked, number('gave_up_at'))
local failing = failed > evaluated and failed + msg.known_to_fail > now
-- When the caller reported something that waits for an evaluation, which the caller may have to make.
-- One that ends also evaluates what others reported, which may have ended or run off the platform; and
-- makes a hire that evaluations put off.
local waits = msg.unseen and msg.unseen >= evaluated
local others = msg.leaving and number('owed_at') >= evaluated or old.holds_back
local unseen = waits and msg.unseen or others and now or nil
local function owe()
  unseen = now
  set('owed_at', now)
end
if evaluated == 0 then unseen = now end

-- ## Counts
local hire_from_zero, held, in_flight = false, {}, calls_in_flight()
for pool, counts in pairs(msg.pools) do
  local published, scheduled = add_published(pool, counts), #counts.scheduled
  add_started(pool, counts)
  add_finished(pool, counts)
  add_scheduled(pool, counts)
  local quantity, refused = number(pool .. '/quantity'), now < number(pool .. '/refused_until')
  local fire = in_flight[pool .. '/fire']
  local without_workers = quantity == 0 or (fire and fire.to == 0 and not fire.done)
  if without_workers and not refused and published + scheduled > 0 then owe() end
  if published > 0 then
    hire_from_zero = hire_from_zero or quantity == 0 and not refused
    held[pool] = hold_of(quantity, counts.maximum)
  end
  work = work or published + scheduled + counts.finished > 0
end
if msg.look then
  work = true
  owe()
  set('look_at', now)
end
if work then
  add('seq', 1)
  evaluate_by(math.max(now, evaluated + msg.gap))
end
if hire_from_zero then evaluate_by(math.max(now, blocked)) end
keep_due_times()

-- ## Queues and workers
add_queues()
local ticked, soon = number('ticked_at'), math.max(now, evaluated + msg.gap / 2)
if msg.presence then
  if not msg.inactive then
    ticked = now
    set('ticked_at', now)
  end
  -- Workers come and go several at a time: one evaluation a little later serves them all.
  if update_worker() then evaluate_by(soon) end
elseif msg.id and remove_worker() then
  evaluate_by(soon)
  owe()
end
local watched = msg.leaving and worker_watches()
if msg.leaving and unseen then evaluate_by(math.max(now, blocked)) end
if msg.gave_up then set('gave_up_at', now) end

-- ## The election
local lease = false
-- Two evaluations never begin at the same time, since that time identifies the cordon that each sets.
if next_at <= now and evaluated < now and not (msg.more or msg.inactive) then
  lease = redis.call('SET', lock, msg.token, 'NX', 'PX', msg.lock) and true
  -- The lock expires by Redis's clock, which may have stepped back since.
  if not lease and redis.call('PTTL', lock) > msg.lock then redis.call('PEXPIRE', lock, msg.lock) end
end
-- The evaluation reads the ledger after this, perhaps in the same millisecond; and it may put off a hire.
if lease then
  unseen = math.min(unseen or now, now - 1)
  if (new.owed_at or old.owed_at) == ms(now) then set('owed_at', now - 1) end
end
if msg.inactive then unseen = nil end
if ms(next_at) ~= old.next_at then set('next_at', next_at) end

-- While no worker keeps watch, a single publisher reports again when the next evaluation is due. The
-- others stand by, in case that publisher ends first.
local wait = msg.stand_by
if not (msg.id or lease or msg.leaving or msg.inactive) and now - ticked >= msg.watches then
  local due_in = math.max(next_at - now, redis.call('PTTL', lock), 0)
  local comes_in = number('comes_at') - now
  if due_in < wait and not (comes_in > 0 and comes_in <= due_in + msg.gap) then
    wait = due_in
    set('comes_at', now + wait)
  end
end

-- ## Write, and answer
hset(state, new)
if refresh then redis.call('EXPIRE', state, msg.expiry) end
local reply = {}
reply.now, reply.lease, reply.wait, reply.held = ms(now), lease, wait, held
reply.born, reply.sent, reply.unseen = born, sent, unseen
reply.watched, reply.failing = watched, failing
if msg.id then reply.untaken = untaken_for() end
if msg.cordon then
  reply.counted_at = number(counted_at)
  reply.cordon = new[msg.cordon] or old[msg.cordon] or nil
  reply.why = old[cordon_why] or nil
end
return cjson.encode(reply)
