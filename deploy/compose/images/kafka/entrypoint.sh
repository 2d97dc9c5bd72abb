#!/bin/sh
# Formats the log directory once and serves: 9092 for the network's members, ADVERTISED_PORT for the machine outside.
# No globbing: the class path has a star that Java expands itself.
set -euf
cat >/tmp/server.properties <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
controller.listener.names=CONTROLLER
listeners=INSIDE://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093,OUTSIDE://0.0.0.0:$ADVERTISED_PORT
advertised.listeners=INSIDE://kafka:9092,OUTSIDE://127.0.0.1:$ADVERTISED_PORT
listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INSIDE
log.dirs=/data/log
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
PROPERTIES
java="java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp /opt/kafka/libs/*"
[ -f /data/log/meta.properties ] || $java kafka.tools.StorageTool format -t "$CLUSTER_ID" -c /tmp/server.properties
exec $java -Xms256m -Xmx512m -XX:+ExitOnOutOfMemoryError kafka.Kafka /tmp/server.properties
