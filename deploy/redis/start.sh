#!/bin/sh
# Starts Redis with the users of users.acl and the passwords of the environment.
# Redis reads no variables in an ACL file, and a password has no place in a repository,
# so the file has none: each user is off until this gives it one, as a hash.
#
#   CREWPOOL_REDIS_PASSWORD      the supervisor's; never the application's
#   APPLICATION_REDIS_PASSWORD   for those who publish runs and read results
#
# Further arguments go to redis-server.
set -eu

here=$(dirname "$0")
users=${USERS_FILE:-/tmp/users.acl}

hash_of() {
  printf %s "$1" | sha256sum | cut -d ' ' -f 1
}

# Set before use, since a failure inside $(...) of the sed line would not stop us.
crewpool=$(hash_of "${CREWPOOL_REDIS_PASSWORD:?set it to the password of the user crewpool}")
application=$(hash_of "${APPLICATION_REDIS_PASSWORD:?set it to the password of the user application}")

umask 077
sed -e "s/^user crewpool off resetpass /user crewpool on resetpass #$crewpool /" \
  -e "s/^user application off resetpass /user application on resetpass #$application /" \
  "$here/users.acl" > "$users"
# Neither the server nor what it runs needs to know the words themselves.
unset CREWPOOL_REDIS_PASSWORD APPLICATION_REDIS_PASSWORD
exec redis-server "$here/redis.conf" --aclfile "$users" "$@"
