#!/bin/sh
# Stands for the entrypoint of docker's image: dockerd with its default address where arguments name no program.
case ${1-} in
    '' | -*) set -- dockerd --host=unix:///var/run/docker.sock "$@" ;;
esac
exec "$@"
