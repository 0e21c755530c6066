# docker build -t scopefs .
# docker run --rm --device /dev/fuse --cap-add SYS_ADMIN --cap-add DAC_READ_SEARCH --security-opt apparmor=unconfined \
#   --pid=host --memory 1g --memory-swap 1g --ulimit core=0 \
#   -v /srv/vault:/vault -v /mnt/data:/mnt/data:rshared -v /run/scopefs:/run/scopefs \
#   -v /etc/scopefs/data.key:/run/secrets/root:ro scopefs
# rshared: else the mount stays inside the container. --pid=host: else callers' process ids mean nothing.
# memory-swap = memory: keys that OpenSSL holds must not reach swap.
FROM node:24-bookworm AS build
WORKDIR /scopefs
COPY package.json package-lock.json tsconfig.json ./
RUN npm ci --no-audit --no-fund
COPY src src
COPY native-tests native-tests
COPY bin bin
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:24-bookworm-slim
WORKDIR /scopefs
COPY --from=build /scopefs/package.json ./
COPY --from=build /scopefs/node_modules node_modules
COPY --from=build /scopefs/dist/src dist/src
COPY --from=build /scopefs/bin bin
RUN ln -s /scopefs/bin/scopefs /usr/bin/scopefs && mkdir -p /vault /mnt/data /run/scopefs
STOPSIGNAL SIGTERM
ENTRYPOINT ["scopefs"]
CMD ["mount", "/vault", "/mnt/data", "--with", "file:/run/secrets/root", "--foreground"]
