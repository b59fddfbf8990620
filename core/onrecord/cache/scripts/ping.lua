-- PING. Whether scripts run here at all, and may do all that the others do.
--
-- KEYS[1]  a key of its own, which is gone afterwards
-- answer   the server run
write('RPUSH', key, '1')
write('PEXPIRE', key, '1000')
write('LSET', key, 0, '2')
write('LPUSH', key, '1')
write('LTRIM', key, 0, 0)
redis.call('LINDEX', key, 0)
redis.call('LRANGE', key, 0, 0)
redis.call('LLEN', key)
write('RPOP', key)
redis.call('UNLINK', key)
return run
