{{- define "slipway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters, so that suffixes such as `-self-signed` fit into 63. */}}
{{- define "slipway.fullname" -}}
{{- $name := include "slipway.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "slipway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "slipway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "slipway.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "slipway" -}}
{{- $selector := include "slipway.selectorLabels" . | fromYaml -}}
{{- mergeOverwrite (dict) .Values.commonLabels $own $selector | toYaml -}}
{{- end -}}

{{/* The metadata of every object: `include "slipway.metadata" (dict "context" $ "name" … )`.
     Optional: `namespaced: false`, `namespace`, `labels` and `annotations`. */}}
{{- define "slipway.metadata" -}}
{{- $context := .context -}}
name: {{ .name }}
{{- if ne (toString .namespaced) "false" }}
namespace: {{ default $context.Release.Namespace .namespace }}
{{- end }}
labels:
  {{- mergeOverwrite (include "slipway.labels" $context | fromYaml) (default dict .labels) | toYaml | nindent 2 }}
{{- with mergeOverwrite (dict) $context.Values.commonAnnotations (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "slipway.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "slipway.serviceAccountName" -}}
{{- $own := ternary (include "slipway.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{- define "slipway.priorityClassName" -}}
{{- with .Values.priorityClass -}}
{{- default (ternary (include "slipway.fullname" $) "" .create) .name -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the serving certificate and its key. */}}
{{- define "slipway.tlsSecretName" -}}
{{- if eq .Values.certificates.mode "provided" -}}
{{- .Values.certificates.provided.secretName -}}
{{- else -}}
{{- include "slipway.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/* `true` if a profile pools cache claims: only then are there side effects, and rights to claims. */}}
{{- define "slipway.usesPools" -}}
{{- $uses := .Values.pools.enabled -}}
{{- range default dict .Values.policy.profiles -}}
{{- if eq (dig "dind" "cache" "type" "" (default dict .)) "pool" -}}{{- $uses = true -}}{{- end -}}
{{- end -}}
{{- if $uses -}}true{{- end -}}
{{- end -}}

{{/* The security context of every container in this chart: Pod Security level `restricted`. */}}
{{- define "slipway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "slipway.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The pod's security context merged with the one in the values; null removes a field. */}}
{{- define "slipway.podSecurityContext" -}}
{{- $context := mergeOverwrite (include "slipway.podSecurity" . | fromYaml) .Values.podSecurityContext -}}
{{- range $key, $value := $context -}}
{{- if kindIs "invalid" $value -}}
{{- $context = omit $context $key -}}
{{- end -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{- define "slipway.policyConfigMap" -}}
{{- .Values.policyConfigMap | default (printf "%s-policy" (include "slipway.fullname" .)) -}}
{{- end -}}

{{/* Checks that the schema cannot express. */}}
{{- define "slipway.validate" -}}
{{- with .Values.certificates -}}
{{- if and (eq .mode "provided") (not (and .provided.secretName .provided.caBundle)) -}}
{{- fail "certificates.mode `provided` needs certificates.provided.secretName and certificates.provided.caBundle" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.hostNetwork (eq (int .Values.ports.webhook) 10250) -}}
{{- fail "ports.webhook 10250 is the kubelet's port: choose another one with hostNetwork" -}}
{{- end -}}
{{- if eq (int .Values.ports.webhook) (int .Values.ports.metrics) -}}
{{- fail "ports.webhook and ports.metrics must differ" -}}
{{- end -}}
{{- if and .Values.cacheClaim.enabled (not .Values.cacheClaim.namespace) -}}
{{- fail "cacheClaim needs cacheClaim.namespace: the namespace of the runners that mount it" -}}
{{- end -}}
{{- end -}}
