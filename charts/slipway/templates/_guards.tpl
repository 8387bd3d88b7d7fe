{{/* `true` if the cluster has ValidatingAdmissionPolicies. */}}
{{- define "slipway.canGuard" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version -}}true{{- end -}}
{{- end -}}

{{/* A guard: a ValidatingAdmissionPolicy for what Slipway's service account writes, and its binding.
     `include "slipway.guard" (dict "context" $ "name" … "group" … "resource" … "operations" …)`. Its variables and
     validations are the template `slipway.guard.NAME`. */}}
{{- define "slipway.guard" -}}
{{- $context := .context -}}
{{- $name := printf "%s-%s" (include "slipway.fullname" $context) .name -}}
{{- $account := printf "system:serviceaccount:%s:%s" $context.Release.Namespace (include "slipway.serviceAccountName" $context) -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  {{- include "slipway.metadata" (dict "context" $context "name" $name "namespaced" false) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    resourceRules:
      - apiGroups: [{{ .group | quote }}]
        apiVersions: ["*"]
        operations: [{{ join ", " .operations }}]
        resources: [{{ .resource }}]
  matchConditions:
    # Requests of other users are not checked.
    - name: slipway
      expression: request.userInfo.username == {{ $account | squote }}
  {{- include (printf "slipway.guard.%s" .name) $context | trim | nindent 2 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "slipway.metadata" (dict "context" $context "name" $name "namespaced" false) | nindent 2 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end -}}

{{/* CEL: the maps `old` and `new` have the same fields with the same values. `except` is an expression for each
     `field` that may differ. Fields are compared as they come and not by name, so this also holds for those that
     Kubernetes adds later. */}}
{{- define "slipway.same" -}}
{{ .new }}.all(field, {{ .except }} || (field in {{ .old }} && {{ .old }}[field] == {{ .new }}[field]))
&& {{ .old }}.all(field, {{ .except }} || field in {{ .new }})
{{- end -}}

{{/* CEL: an update changes nothing of the object but the top-level field `field`, and what the API server itself
     writes into the metadata. `metadata` is a further field of the metadata that may differ. */}}
{{- define "slipway.changesOnly" -}}
{{- $served := list "generation" "managedFields" "resourceVersion" -}}
{{ include "slipway.same" (dict "old" "oldObject" "new" "object" "except" (printf "field in ['%s']" (list "metadata" .field | uniq | join "', '"))) }}
&& {{ include "slipway.same" (dict "old" "oldObject.metadata" "new" "object.metadata"
  "except" (printf "field in ['%s']" (append $served (default "generation" .metadata) | uniq | join "', '"))) }}
{{- end -}}

{{/* CEL: the metadata of a new object has a name, and nothing more than the API server itself writes there. `more` are
     fields that are allowed, too: labels are, where somebody checks them; never owners. */}}
{{- define "slipway.plainMetadata" -}}
{{- $plain := list "name" "namespace" "uid" "creationTimestamp" "generation" "managedFields" "resourceVersion" -}}
object.metadata.all(field, field in ['{{ concat $plain .more | join "', '" }}'])
{{- end -}}

{{/* CEL variables: whether the namespace has opted in, as the webhook's namespaceSelector sees it. */}}
{{- define "slipway.optedIn" -}}
- name: namespaceLabels
  expression: namespaceObject.metadata.?labels.orValue({})
- name: optedIn
  expression: >-
    variables.namespaceLabels[?'slipway.io/inject'].orValue('') == 'enabled'
    && !('control-plane' in variables.namespaceLabels)
    && !(namespaceObject.metadata.name in ['kube-system', 'kube-public', 'kube-node-lease'])
{{- end -}}
