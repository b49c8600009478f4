-- ARGV: number of the lease, sealed token, digest, end in ms, lifetime in ms, ID
-- of the master key
local n, lifetime = tonumber(ARGV[3]), tonumber(ARGV[7])
if not mine(n) then return answer('refused') end
put(n, ARGV[4], ARGV[5], math.min(tonumber(ARGV[6]), now + lifetime), ARGV[8])
set('n', n)
redis.call('HDEL', entry, 'h', 'u', 'a', 'c', 'p', 'r', 'f')
written(true)
return answer('ok')
