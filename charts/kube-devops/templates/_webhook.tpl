{{/* A webhook configuration, with its caBundle where the webhook does not add it, with the excluded
     namespaces and, where it validates, with the rules of further kinds. */}}
{{- define "kube-devops.webhookConfiguration" -}}
{{- $values := .root.Values }}
{{- $object := .root.Files.Get .file | fromYaml }}
{{- $labels := include "kube-devops.helmLabels" .root | fromYaml }}
{{- $_ := set $object.metadata "labels" (merge $object.metadata.labels $labels) }}
{{- if eq $values.certificate.source "cert-manager" }}
{{- $from := printf "%s/policy-webhook" .root.Release.Namespace }}
{{- $_ := set $object.metadata "annotations" (dict "cert-manager.io/inject-ca-from" $from) }}
{{- end }}
{{- range $object.webhooks }}
{{- if eq $values.certificate.source "secret" }}
{{- $_ := set .clientConfig "caBundle" (b64enc $values.certificate.caBundle) }}
{{- end }}
{{- if eq $object.kind "ValidatingWebhookConfiguration" }}
{{- $webhook := . }}
{{- range $values.workloadKinds }}
{{- $rule := dict "apiGroups" (list .group) "apiVersions" (list "*") "operations" (list "CREATE" "UPDATE") "scope" "Namespaced" }}
{{- $_ := set $rule "resources" (list (printf "%ss" (lower .kind))) }}
{{- $_ := set $webhook "rules" (append $webhook.rules $rule) }}
{{- end }}
{{- end }}
{{- range .namespaceSelector.matchExpressions }}
{{- if eq .key "kubernetes.io/metadata.name" }}
{{- $_ := set . "values" (concat .values $values.excludedNamespaces | uniq | sortAlpha) }}
{{- end }}
{{- end }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
