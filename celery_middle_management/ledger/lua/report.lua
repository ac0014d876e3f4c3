-- Adds what a process reports, and answers whether an evaluation is due and the caller's to make.
-- The other parts of this script: report_state.lua, report_in_flight.lua, report_counts.lua,
-- report_workers.lua.

-- ## ReportMessage (msg): ARGV[1], as JSON; with Bounds, if the caller has read the ledger's time
--   pools            PoolCounts  by pool
--   queues           names   published to, which no pool names
--   queues_left_out  bool    there were more of them than `most_queues`
--   look             bool    something was published whose pool only a count can tell
--   token            text    of the lease, if the caller gets it
--   more             bool    another part of the same report follows: do not elect the caller yet
--   leaving          bool    the caller's process ends
--   gave_up          bool    it leaves an evaluation behind that still waits for the platform
--   unseen?          ms      as in the last reply
--   id?              text    of the worker that reports
--   presence?        JSON    what it reports of itself; without it, it says goodbye
--   cordon?          name    of the field with the cordon that the worker has to obey
--   born?            text    the name of the ledger whose calls in flight the caller remembers
--   sent?            InFlight  those calls, by `<pool>/fire` or `<pool>/hire`
--   inactive         bool    the caller runs off the platform, and never evaluates
--   counters         names   of a sample, in this order
--   fine             s       size of a bucket of due times up to `fine_horizon`
--   coarse           s       size of a bucket beyond
--   fine_horizon     s       from now
--   gap              ms      least time between two evaluations
--   interval         ms      least time between two calls of the platform
--   zero_hold        ms      a publisher holds back counts while a pool is hired from zero
--   longest_hold     ms      and at most
--   stand_by         ms      after this, a publisher reports though it has nothing to add
--   watches          ms      a worker that reported within this time will evaluate
--   lock             ms      the lock lasts
--   known_to_fail    ms      the platform is taken to fail this long after it did
--   most_queues      count   that are kept
--   most_minutes     count   samples that are kept
--   expiry           s       of every key, from the last report

-- ## PoolCounts (counts): since the caller's last report
--   maximum          count   workers that the pool may have
--   published        [[ms ago, tasks], ...]
--   scheduled        [[ms ahead, tasks], ...]
--   started          tasks
--   waits            s       that these have waited, in all
--   finished         tasks
--   runtime          s       that these have run, in all
--   runtime_squares  s²      the same squared, in all
--   longest          s       the longest of these

-- ## InFlight (told): a call that may still take effect at the platform
--   to               workers
--   done             bool    the platform has confirmed it
--   left             s       until it can take effect no more

-- ## ReportReply (reply)
--   now              ms      the ledger's time, as text
--   lease            bool    the caller has the lock: it is to evaluate
--   wait             ms      report again after this time, even with nothing to add
--   held             ms      by pool: its counts could change nothing sooner
--   born             text    the ledger's name for itself: if it differs, the data was lost
--   sent?            JSON    the calls in flight
--   unseen?          ms      what the caller reported then still waits for an evaluation
--   watched          bool    to a caller that is leaving: a worker will evaluate
--   failing          bool    the platform failed or was given up, and has not answered since
--   untaken?         s       for so long counts have found messages that the worker did not take
--   counted_at?      ms      the last count of the worker's pool began
--   cordon?          JSON    that the worker has to obey
--   why?             text    the reason for it

-- ## Before anything is added
-- Without it, the app was never evaluated, or the data was lost: due now.
local next_at, evaluated = tonumber(old.next_at or now), number('evaluated_at')
local function evaluate_by(time) next_at = math.min(next_at, time) end

sample_counters()
local work = restore_calls() -- for an evaluation
local silence = now - last_report
if newcomer and last_report > 0 and silence > msg.watches then extend_calls(silence) end

local blocked = number('blocked_until')
local failed = math.max(blocked, number('gave_up_at'))
local failing = failed > evaluated and failed + msg.known_to_fail > now
-- Since when something that the caller reported waits for an evaluation that might not come without it.
local unseen = msg.unseen and msg.unseen >= evaluated and msg.unseen or nil
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
  if without_workers and not refused and published + scheduled > 0 then unseen = now end
  if published > 0 then
    hire_from_zero = hire_from_zero or quantity == 0 and not refused
    held[pool] = hold_of(quantity, counts.maximum)
  end
  work = work or published + scheduled + counts.finished > 0
end
if msg.look then
  work, unseen = true, now
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
  -- Workers come and go several at a time, and one evaluation will do for them.
  if update_worker() then evaluate_by(soon) end
elseif msg.id and remove_worker() then
  evaluate_by(soon)
  unseen = now
end
local watched = msg.leaving and worker_watches()
if msg.leaving and unseen then evaluate_by(math.max(now, blocked)) end
if msg.gave_up then set('gave_up_at', now) end

-- ## The election
local lease = false
-- No two evaluations begin at one time: it tells their cordons apart.
if next_at <= now and evaluated < now and not (msg.more or msg.inactive) then
  lease = redis.call('SET', lock, msg.token, 'NX', 'PX', msg.lock) and true
  -- The lock expires by Redis's clock, which may have stepped back since.
  if not lease and redis.call('PTTL', lock) > msg.lock then redis.call('PEXPIRE', lock, msg.lock) end
end
if lease and unseen == now then unseen = now - 1 end -- its evaluation reads the ledger after this
if msg.inactive then unseen = nil end
if ms(next_at) ~= old.next_at then set('next_at', next_at) end

-- While no worker keeps watch, one publisher reports when the next evaluation is due, however many
-- there are. The others stand by, in case it ends before.
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
