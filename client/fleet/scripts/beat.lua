-- ARGV: holder, number of the lease, its length in ms
local holder, n, lease = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if not mine(n) then return answer('refused') end
redis.call('HSET', entry, 'h', holder)
set('n', n)
set('u', now + lease)
written(false)
return answer('ok')
