{{/*
The match condition: one CEL expression that is true for every pod that Slipway recognises as a runner
pod. It may be true for other pods, which Slipway then leaves alone. It must never be false for a pod
that Slipway recognises, and must never fail: a failed expression skips the webhook.

The API server passes typed objects to CEL, where empty lists and maps are absent, so `has()` is the
only guard needed. Labels come first: they are the cheapest to test.
*/}}
{{- define "slipway.matchExpression" -}}
{{- $cases := list (include "slipway.cel.annotated" "slipway.io/runner-container") -}}
{{- range include "slipway.recognisers" . | fromYamlArray -}}
{{- $cases = append $cases (include "slipway.cel.recogniser" .) -}}
{{- end -}}
{{- join "\n|| " $cases -}}
{{- end -}}

{{/* The recognisers in force, combined as in core/src/policy/recogniser.rs: the built-in ones, which the
     policy may disable, enable or replace, then the policy's own. */}}
{{- define "slipway.recognisers" -}}
{{- $builtIn := .Files.Get "files/recognisers.yaml" | fromYamlArray -}}
{{- $own := default list .Values.policy.recognisers -}}
{{- $inForce := list -}}
{{- $known := list -}}
{{- range $recogniser := $builtIn -}}
{{- $known = append $known $recogniser.name -}}
{{- range $rule := $own -}}
{{- if eq $rule.name $recogniser.name -}}
{{- $switched := set (deepCopy $recogniser) "enabled" (dig "enabled" true $rule) -}}
{{- $recogniser = ternary $switched $rule (empty $rule.anyOf) -}}
{{- end -}}
{{- end -}}
{{- $inForce = append $inForce $recogniser -}}
{{- end -}}
{{- range $own -}}
{{- if not (has .name $known) -}}{{- $inForce = append $inForce . -}}{{- end -}}
{{- end -}}
{{- $enabled := list -}}
{{- range $inForce -}}
{{- if dig "enabled" true . -}}{{- $enabled = append $enabled . -}}{{- end -}}
{{- end -}}
{{- toYaml $enabled -}}
{{- end -}}

{{/* True if a mark of anyOf matches and no mark of noneOf does. */}}
{{- define "slipway.cel.recogniser" -}}
{{- $any := list -}}
{{- range .anyOf -}}
{{- $any = append $any (include "slipway.cel.mark" .) -}}
{{- end -}}
{{- if not $any -}}
{{- fail (printf "policy.recognisers: `%s` has no anyOf, so it recognises no pod" .name) -}}
{{- end -}}
{{- $none := "" -}}
{{- range .noneOf -}}
{{- /* The last one of two variables with the same name counts, which CEL cannot express. A mark on the
       value of a variable must therefore not exclude a pod. */ -}}
{{- if not (compact (values (default dict .env))) -}}
{{- $none = printf "%s && !%s" $none (include "slipway.cel.mark" .) -}}
{{- end -}}
{{- end -}}
{{- if $none -}}
{{- printf "((%s)%s)" (join " || " $any) $none -}}
{{- else -}}
{{- join "\n|| " $any -}}
{{- end -}}
{{- end -}}

{{/* True if the pod has everything that the mark names. */}}
{{- define "slipway.cel.mark" -}}
{{- $all := list -}}
{{- if .labels -}}
{{- $all = append $all "has(object.metadata.labels)" -}}
{{- end -}}
{{- range $key, $value := .labels -}}
{{- $all = append $all (printf "%s in object.metadata.labels" (toJson $key)) -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $all = append $all (printf "object.metadata.labels[%s] == %s" (toJson $key) (toJson $value)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .env -}}
{{- $all = append $all (include "slipway.cel.someContainer" (include "slipway.cel.env" (list $name $value))) -}}
{{- end -}}
{{- with .image -}}
{{- $pattern := printf "(?s)^%s$" (regexQuoteMeta . | replace "\\*" ".*") -}}
{{- $all = append $all (include "slipway.cel.someContainer" (printf "has(c.image) && c.image.matches(%s)" (toJson $pattern))) -}}
{{- end -}}
{{- printf "(%s)" (join " && " $all) -}}
{{- end -}}

{{- define "slipway.cel.annotated" -}}
(has(object.metadata.annotations) && {{ toJson . }} in object.metadata.annotations)
{{- end -}}

{{/* Takes (name, value); a null value matches any. */}}
{{- define "slipway.cel.env" -}}
{{- $value := last . -}}
has(c.env) && c.env.exists(e, e.name == {{ first . | toJson }}
{{- if not (kindIs "invalid" $value) }} && has(e.value) && e.value == {{ toJson $value }}{{ end -}}
)
{{- end -}}

{{/* True if the expression holds for some container or init container `c`. */}}
{{- define "slipway.cel.someContainer" -}}
((has(object.spec.containers) && object.spec.containers.exists(c, {{ . }})) || (has(object.spec.initContainers) && object.spec.initContainers.exists(c, {{ . }})))
{{- end -}}
