# billhook in one container: Node 24, not root, any UID, read-only root, one volume (/var/lib/billhook).

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# better-sqlite3 brings its binaries in the package; nothing is compiled.
RUN npm ci --omit=dev --ignore-scripts
COPY src ./src
COPY config ./config
COPY LICENSE ./

FROM node:24-bookworm-slim
ENV NODE_ENV=production
COPY --from=build /app /app
RUN ln -s /app/src/billhook.js /usr/local/bin/billhook \
  && chmod 0755 /app/src/billhook.js \
  && mkdir -p /var/lib/billhook /etc/billhook \
  && chmod 1777 /var/lib/billhook
VOLUME /var/lib/billhook
WORKDIR /var/lib/billhook
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["billhook", "status", "--alive", "-c", "/etc/billhook/config.yaml"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["billhook"]
CMD ["run", "-c", "/etc/billhook/config.yaml"]
