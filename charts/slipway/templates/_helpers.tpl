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
app.kubernetes.io/name: {{ include "slipway.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: webhook
{{- end -}}

{{/* The program's version as labels and image tags may have it: without `+`, and short enough. */}}
{{- define "slipway.appVersion" -}}
{{- .Chart.AppVersion | replace "+" "_" | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{- define "slipway.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_.")
  "app.kubernetes.io/version" (include "slipway.appVersion" .)
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "slipway" -}}
{{- $selector := include "slipway.selectorLabels" . | fromYaml -}}
{{- mergeOverwrite (dict) .Values.commonLabels $own $selector | toYaml -}}
{{- end -}}

{{/* The metadata of every object: `include "slipway.metadata" (dict "context" $ "name" … )`.
     Optional: `namespaced: false`, `namespace`, `labels` and `annotations`. */}}
{{- define "slipway.metadata" -}}
{{- $context := .context -}}
name: {{ .name | quote }}
{{- if ne (toString .namespaced) "false" }}
namespace: {{ default $context.Release.Namespace .namespace | quote }}
{{- end }}
labels:
  {{- mergeOverwrite (include "slipway.labels" $context | fromYaml) (default dict .labels) | include "slipway.withoutNulls" | nindent 2 }}
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
{{ .repository }}:{{ default (include "slipway.appVersion" $) .tag }}
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
{{- if not .Values.openshift }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The pod's security context merged with the one in the values; null removes a field. */}}
{{- define "slipway.podSecurityContext" -}}
{{- mergeOverwrite (include "slipway.podSecurity" . | fromYaml) .Values.podSecurityContext | include "slipway.withoutNulls" -}}
{{- end -}}

{{/* A map without the keys that are null: helm removes only nulls that replace a default of the chart, and with
     --reuse-values it no longer knows the default. */}}
{{- define "slipway.withoutNulls" -}}
{{- $map := . -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value -}}
{{- $map = omit $map $key -}}
{{- end -}}
{{- end -}}
{{- toYaml $map -}}
{{- end -}}

{{- define "slipway.policyConfigMap" -}}
{{- .Values.policyConfigMap | default (printf "%s-policy" (include "slipway.fullname" .)) -}}
{{- end -}}

{{/* Checks that the schema cannot express. */}}
{{- define "slipway.validate" -}}
{{- $fullname := include "slipway.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- fail (printf "the release `%s` would have objects named `%s`, which a Service cannot be called (lower-case letters, digits and `-`; first a letter): choose another release name, or set fullnameOverride" .Release.Name $fullname) -}}
{{- end -}}
{{- $own := include "slipway.args" . | fromYamlArray -}}
{{- range .Values.extraArgs -}}
{{- $flag := regexFind "^--[a-z-]+" . -}}
{{- range ternary list $own (has $flag (list "" "--metrics-host")) -}}
{{- if eq $flag (regexFind "^--[a-z-]+" .) -}}
{{- fail (printf "extraArgs: the chart sets %s itself, and the program takes it once: use the value for it" $flag) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $profile, $keys := default dict .Values.policy.profiles -}}
{{- range default list (dig "dind" "registryMirrors" list (default dict $keys)) -}}
{{- if not (has (urlParse .).path (list "" "/")) -}}
{{- fail (printf "policy.profiles.%s.dind.registryMirrors: `%s` is not a valid registry mirror: it must not have a path (dockerd before version 28 refuses to start)" $profile .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
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
