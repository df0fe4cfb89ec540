# Stops a test server and removes its folder once nobody has used it for a while.
# $1 the folder, $2 the command that stops the server, $3 after how many looks without a user.
folder=$1
exec 9>>"$folder/watchdog.lock"
flock -n 9 || exit 0
idle=0
while sleep 1 && [ -d "$folder" ]; do
    # Nobody comes while this is held.
    exec 8>>"$folder/start.lock"
    flock 8
    exec 7>>"$folder/users.lock"
    if flock -n 7; then idle=$((idle + 1)); else idle=0; fi
    if [ "$idle" -ge "$3" ]; then
        sh -c "$2"
        rm -rf "$folder"
        exit 0
    fi
    exec 7>&- 8>&-
done
