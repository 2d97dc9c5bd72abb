{{- define "carlien.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{/* Fixed facts of each component: what design.md's table of services says. */}}
{{- define "carlien.facts" -}}
valuation:
  name: valuation
  package: carlien_valuation
  grpcPort: 50051
  metricsPort: 9101
  calls: []
  devicePorts: {}
lienRegistry:
  name: lien-registry
  package: carlien_lien_registry
  grpcPort: 50052
  metricsPort: 9102
  calls: [valuation]
  devicePorts: {}
telematics:
  name: telematics
  package: carlien_telematics
  grpcPort: 50053
  metricsPort: 9103
  calls: []
  devicePorts: {gb32960: 32960, jt808: 8808}
pricing:
  name: pricing
  package: carlien_pricing
  grpcPort: 50054
  metricsPort: 9104
  calls: [valuation, lienRegistry, telematics]
  devicePorts: {}
{{- end -}}

{{- define "carlien.selectorLabels" -}}
app.kubernetes.io/name: {{ .facts.name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: carlien
{{- end -}}

{{- define "carlien.labels" -}}
{{ include "carlien.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "carlien.image" -}}
{{- $registry := .root.Values.image.registry -}}
{{- if $registry }}{{ trimSuffix "/" $registry }}/{{ end }}carlien-{{ .facts.name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{/* The environment of a component; the names are those of carlien_common.config. */}}
{{- define "carlien.env" -}}
{{- $root := .root }}{{- $facts := .facts }}{{- $all := .all }}{{- $values := $root.Values -}}
- {name: CARLIEN_ORG, value: {{ $values.org | quote }}}
- {name: CARLIEN_MSP_ID, value: {{ $values.mspId | quote }}}
- {name: CARLIEN_GRPC_PORT, value: {{ $facts.grpcPort | quote }}}
- {name: CARLIEN_METRICS_PORT, value: {{ $facts.metricsPort | quote }}}
- {name: CARLIEN_REFLECTION, value: {{ $values.grpc.reflection | quote }}}
- {name: CARLIEN_LOG_LEVEL, value: {{ $values.logLevel | quote }}}
- {name: CARLIEN_POSTGRES_DSN_FILE, value: /etc/carlien/postgres/dsn}
- {name: CARLIEN_KAFKA_BOOTSTRAP, value: {{ required "kafka.bootstrap: say where Kafka is" $values.kafka.bootstrap | quote }}}
- {name: CARLIEN_KAFKA_SECURITY_PROTOCOL, value: {{ $values.kafka.securityProtocol | quote }}}
{{- with $values.kafka.topicPrefix }}
- {name: CARLIEN_KAFKA_TOPIC_PREFIX, value: {{ . | quote }}}
{{- end }}
{{- if contains "SSL" $values.kafka.securityProtocol }}
- {name: CARLIEN_KAFKA_SSL_CA_FILE, value: /etc/carlien/kafka/ca.crt}
{{- end }}
{{- if contains "SASL" $values.kafka.securityProtocol }}
- {name: CARLIEN_KAFKA_SASL_MECHANISM, value: {{ $values.kafka.saslMechanism | quote }}}
- name: CARLIEN_KAFKA_SASL_USERNAME
  valueFrom: {secretKeyRef: {name: {{ required "kafka.existingSecret: SASL needs username and password" $values.kafka.existingSecret | quote }}, key: username}}
- {name: CARLIEN_KAFKA_SASL_PASSWORD_FILE, value: /etc/carlien/kafka/password}
{{- end }}
- {name: CARLIEN_TLS_CERT_FILE, value: /etc/carlien/tls/tls.crt}
- {name: CARLIEN_TLS_KEY_FILE, value: /etc/carlien/tls/tls.key}
- {name: CARLIEN_TLS_CA_FILE, value: /etc/carlien/tls/ca.crt}
{{- with $values.tracing.otlpEndpoint }}
- {name: CARLIEN_TRACES_ENDPOINT, value: {{ . | quote }}}
- {name: CARLIEN_TRACES_SAMPLE_RATIO, value: {{ $values.tracing.sampleRatio | quote }}}
{{- end }}
{{- range $facts.calls }}
{{- if (index $values.components .).enabled }}
{{- $callee := index $all . }}
- {name: CARLIEN_{{ $callee.name | replace "-" "_" | upper }}_ADDRESS, value: {{ printf "%s-%s:%v" (include "carlien.fullname" $root) $callee.name $callee.grpcPort | quote }}}
{{- end }}
{{- end }}
{{- if eq $facts.name "lien-registry" }}
- {name: CARLIEN_FABRIC_PEER_ADDRESSES, value: {{ join "," (required "fabric.peerAddresses: say where your own peers are" $values.fabric.peerAddresses) | quote }}}
- {name: CARLIEN_FABRIC_CHANNEL, value: {{ $values.fabric.channel | quote }}}
- {name: CARLIEN_FABRIC_CHAINCODE, value: {{ $values.fabric.chaincode | quote }}}
- {name: CARLIEN_FABRIC_TLS_CA_FILE, value: /etc/carlien/fabric/tls-ca.crt}
- {name: CARLIEN_FABRIC_CERT_FILE, value: /etc/carlien/fabric/client.crt}
- {name: CARLIEN_FABRIC_KEY_FILE, value: /etc/carlien/fabric/client.key}
- {name: CARLIEN_FABRIC_REGISTRAR_CERT_FILE, value: /etc/carlien/fabric/registrar.crt}
- {name: CARLIEN_FABRIC_REGISTRAR_KEY_FILE, value: /etc/carlien/fabric/registrar.key}
- {name: CARLIEN_CONSORTIUM_KEY_FILE, value: /etc/carlien/fabric/consortium.key}
{{- end }}
{{- if eq $facts.name "valuation" }}
- {name: CARLIEN_MODEL_DIR, value: {{ .component.modelDir | quote }}}
{{- end }}
{{- range $name, $port := $facts.devicePorts }}
- {name: CARLIEN_{{ upper $name }}_PORT, value: {{ $port | quote }}}
{{- end }}
{{- with .component.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "carlien.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: postgres, mountPath: /etc/carlien/postgres, readOnly: true}
- {name: tls, mountPath: /etc/carlien/tls, readOnly: true}
{{- if .root.Values.kafka.existingSecret }}
- {name: kafka, mountPath: /etc/carlien/kafka, readOnly: true}
{{- end }}
{{- if eq .facts.name "lien-registry" }}
- {name: fabric, mountPath: /etc/carlien/fabric, readOnly: true}
{{- end }}
{{- with .component.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "carlien.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
- name: postgres
  secret: {secretName: {{ required (printf "postgres.existingSecrets.%s" .key) (index .root.Values.postgres.existingSecrets .key) | quote }}, defaultMode: 288}
- name: tls
  secret: {secretName: {{ printf "%s-%s%s" (include "carlien.fullname" .root) .facts.name .root.Values.tls.existingSecretSuffix | quote }}, defaultMode: 288}
{{- with .root.Values.kafka.existingSecret }}
- name: kafka
  secret: {secretName: {{ . | quote }}, defaultMode: 288}
{{- end }}
{{- if eq .facts.name "lien-registry" }}
- name: fabric
  secret: {secretName: {{ .root.Values.fabric.existingSecret | quote }}, defaultMode: 288}
{{- end }}
{{- with .component.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Pod security "restricted". */}}
{{- define "carlien.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "carlien.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
