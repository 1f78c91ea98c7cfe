{{/* The labels that Helm's conventions want on every object; in no selector. */}}
{{- define "kube-devops.helmLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels by which pods are selected. */}}
{{- define "kube-devops.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: kube-devops
{{- end }}

{{/* Metadata of an object of a component, in the namespace of the release. */}}
{{- define "kube-devops.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "kube-devops.selector" . | nindent 2 }}
  {{- include "kube-devops.helmLabels" .root | nindent 2 }}
{{- end }}

{{/* What the other templates need of a component: its name, its port and its values, those of the
     component over the common ones. */}}
{{- define "kube-devops.component" -}}
{{- $ports := dict "watcher" 8080 "operator" 9090 "webhook" 8443 }}
{{- $common := pick .root.Values "image" "replicaCount" "resources" "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" "podAnnotations" "extraArgs" "extraEnv" }}
{{- $values := deepCopy $common }}
{{- range $key, $value := index .root.Values .component | default dict }}
{{- if kindIs "map" $value }}
{{- $_ := set $values $key (mergeOverwrite (index $values $key | default dict) (deepCopy $value)) }}
{{- else }}
{{- $_ := set $values $key $value }}
{{- end }}
{{- end }}
{{- dict "name" (printf "policy-%s" .component) "port" (index $ports .component) "scheme" (ternary "https" "http" (eq .component "webhook")) "values" $values | toJson }}
{{- end }}

{{/* Objects that `cargo xtask gen` has written to files/, with the labels of Helm. */}}
{{- define "kube-devops.generated" -}}
{{- $labels := include "kube-devops.helmLabels" .root | fromYaml }}
{{- range splitList "\n---\n" (.root.Files.Get .file) }}
{{- $object := fromYaml . }}
{{- $_ := set $object.metadata "labels" (merge ($object.metadata.labels | default dict) $labels) }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}

{{/* The image of a program of the platform. */}}
{{- define "kube-devops.image" -}}
{{- printf "%s/%s:%s" .image.repository .name (.image.tag | default .root.Chart.AppVersion) }}
{{- end }}

{{/* What every pod of the chart has in its spec. */}}
{{- define "kube-devops.podSpec" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  seccompProfile: {type: RuntimeDefault}
{{- with .values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container of the chart may not do. */}}
{{- define "kube-devops.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}
