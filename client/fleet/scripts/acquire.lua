-- ARGV: holder, length of the lease in ms, order known, digests of the
-- credentials, IDs of the master keys, how long others are asked in ms
local holder, lease, known, credentials, ring, ask = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7], tonumber(ARGV[8])
if known > 2 * newest + 1 then known = 0 end
if order() > known then return answer('changed') end
-- What this one would bring the others could not read.
local id = redis.call('HGET', entry, 'k')
if id and #id == 8 and not among(ring, id) then return answer('sealed') end
-- Neither lasts longer than a minute, whatever became of the server's clock.
local function lasts(field) return number(field) > now and number(field) <= now + 60000 end
if lasts('p') and among(credentials, redis.call('HGET', entry, 'c')) then return answer('failed') end
local other = redis.call('HGET', entry, 'h')
if other and other ~= holder and lasts('u') then return answer('held') end
-- A lost entry is told from a new one by asking: who knows its token puts it
-- back, and who holds its lease takes it again.
local function asked()
  local found = answer('asked')
  found[7] = number('a')
  return found
end
if number('g') == 0 and number('n') == 0 and redis.call('HEXISTS', entry, 'a') == 0 then
  set('a', now + ask)
  written(true)
  return asked()
end
if lasts('a') and redis.call('HEXISTS', entry, 't') == 0 then return asked() end
-- Above the time in µs, so that the numbers grow even when the server has lost them.
set('n', math.max(number('n'), number('g'), math.floor(known / 2), at[1] * 1000000 + at[2]) + 1)
set('u', now + lease)
redis.call('HSET', entry, 'h', holder)
written(false)
return answer('ok')
