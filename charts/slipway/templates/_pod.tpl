{{/* The arguments of `slipway serve`. */}}
{{- define "slipway.args" -}}
{{- $fullname := include "slipway.fullname" . -}}
{{- $mode := .Values.certificates.mode -}}
{{- $address := .Values.listenAddress -}}
{{- if and (contains ":" $address) (not (hasPrefix "[" $address)) -}}{{- $address = printf "[%s]" $address -}}{{- end -}}
- serve
- --listen={{ $address }}:{{ .Values.ports.webhook }}
- --metrics-listen={{ $address }}:{{ .Values.ports.metrics }}
- --policy=/etc/slipway/policy/policy.yaml
- --probe-mirrors={{ .Values.probeMirrors }}
- --status-page={{ .Values.statusPage.enabled }}
{{- range .Values.metrics.hosts }}
- --metrics-host={{ . }}
{{- end }}
- --certificates={{ $mode }}
{{- if eq $mode "self" }}
- --tls-secret={{ include "slipway.tlsSecretName" . }}
{{- else }}
- --tls-dir=/etc/slipway/tls
{{- end }}
- --webhook-configuration={{ $fullname }}
- --service={{ $fullname }}
- --lease={{ $fullname }}
# One second less than the API server waits.
- --request-timeout={{ sub .Values.webhook.timeoutSeconds 1 }}s
- --drain-delay={{ .Values.drain.delaySeconds }}s
- --drain-timeout={{ .Values.drain.timeoutSeconds }}s
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
{{- end -}}

{{/* Where the replicas run. */}}
{{- define "slipway.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- include "slipway.withoutNulls" . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with mergeOverwrite (include "slipway.antiAffinity" . | fromYaml) .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .Values.topologySpreadConstraints }}
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "slipway.selectorLabels" $ | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "slipway.antiAffinity" -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "slipway.selectorLabels" . | fromYaml)) -}}
{{- if eq .Values.antiAffinity "hard" -}}
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    {{- list $term | toYaml | nindent 4 }}
{{- else if eq .Values.antiAffinity "soft" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    {{- list (dict "weight" 100 "podAffinityTerm" $term) | toYaml | nindent 4 }}
{{- end -}}
{{- end -}}
