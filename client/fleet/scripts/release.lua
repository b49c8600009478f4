-- ARGV: holder, number of the lease, and for a failure: digests of the
-- credentials, the sealed failure, the least pause in ms, the most it grows to
local holder, n, credentials, failure = ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
if redis.call('HGET', entry, 'h') ~= holder or number('n') ~= n then return answer('refused') end
redis.call('HDEL', entry, 'h', 'u')
if failure ~= '' then
  local row = 1
  if among(credentials, redis.call('HGET', entry, 'c')) then row = number('r') + 1 end
  local pause = math.max(tonumber(ARGV[7]), math.min(500 * 2 ^ math.min(row, 16), tonumber(ARGV[8])))
  redis.call('HSET', entry, 'c', string.match(credentials, '^%x+'), 'f', failure)
  set('r', row)
  set('p', now + pause)
end
written(true)
return answer('ok')
