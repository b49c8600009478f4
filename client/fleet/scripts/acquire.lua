-- ARGV: holder, length of the lease in ms, order known, digests of the credentials
local holder, lease, known, credentials = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
if order() > known then return answer('changed') end
-- Neither lasts longer than a minute, whatever became of the server's clock.
local function lasts(field) return number(field) > now and number(field) <= now + 60000 end
if lasts('p') and among(credentials, redis.call('HGET', entry, 'c')) then return answer('failed') end
local other = redis.call('HGET', entry, 'h')
if other and other ~= holder and lasts('u') then return answer('held') end
-- Above the time in µs, so that the numbers grow even when the server has lost them.
set('n', math.max(number('n'), number('g'), math.floor(known / 2), at[1] * 1000000 + at[2]) + 1)
set('u', now + lease)
redis.call('HSET', entry, 'h', holder)
written(false)
return answer('ok')
