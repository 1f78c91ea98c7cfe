{{/* A webhook configuration, with its caBundle where the webhook does not add it, and with the
     excluded namespaces. */}}
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
{{- range .namespaceSelector.matchExpressions }}
{{- if eq .key "kubernetes.io/metadata.name" }}
{{- $_ := set . "values" (concat .values $values.excludedNamespaces | uniq | sortAlpha) }}
{{- end }}
{{- end }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
