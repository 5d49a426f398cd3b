# billhook in one container: Node 24, not root, any UID, read-only root, one volume (/var/lib/billhook).

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json tsconfig.json ./
COPY .ci ./.ci
# Nothing is compiled natively: better-sqlite3 and TypeScript bring their binaries in their packages.
RUN npm ci --ignore-scripts
COPY src ./src
# Compiled, it starts faster and takes 35 MB less than with its types stripped at every start.
RUN ./node_modules/.bin/tsc -p .ci/tsconfig.build.json && npm prune --omit=dev --ignore-scripts

FROM node:24-bookworm-slim
ENV NODE_ENV=production
COPY --from=build /app/package.json /app/
COPY --from=build /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
COPY config /app/config
COPY LICENSE /app/
RUN ln -s /app/dist/billhook.js /usr/local/bin/billhook \
  && chmod 0755 /app/dist/billhook.js \
  && mkdir -p /var/lib/billhook /etc/billhook \
  && chmod 1777 /var/lib/billhook
VOLUME /var/lib/billhook
WORKDIR /var/lib/billhook
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["billhook", "status", "--alive", "-c", "/etc/billhook/config.yaml"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["billhook"]
CMD ["run", "-c", "/etc/billhook/config.yaml"]
