{{/* A pod that runs policyctl once, as the ServiceAccount of that name. */}}
{{- define "kube-devops.policyctl" -}}
{{- $values := .root.Values }}
serviceAccountName: {{ .name }}
restartPolicy: Never
{{ include "kube-devops.podSpec" (dict "values" $values) }}
containers:
  - name: policyctl
    image: {{ include "kube-devops.image" (dict "root" .root "name" "policyctl" "image" $values.image) | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args:
      {{- toYaml .args | nindent 6 }}
    resources:
      {{- toYaml $values.resources | nindent 6 }}
    securityContext:
      {{- include "kube-devops.containerSecurity" . | nindent 6 }}
{{- end }}

{{/* Metadata of an object that exists only while a hook runs. */}}
{{- define "kube-devops.hookMetadata" -}}
name: {{ .name }}
{{- if .namespaced }}
namespace: {{ .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "kube-devops.selector" . | nindent 2 }}
  {{- include "kube-devops.helmLabels" .root | nindent 2 }}
annotations:
  helm.sh/hook: {{ .hook }}
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* A ServiceAccount of that name, and its rights while a hook runs: on the whole cluster, and in the
     namespace of the release. */}}
{{- define "kube-devops.hookRights" -}}
{{- $context := pick . "root" "name" "hook" }}
{{- $_ := set $context "weight" -1 }}
{{- $subjects := list (dict "kind" "ServiceAccount" "name" .name "namespace" .root.Release.Namespace) }}
{{- $cluster := include "kube-devops.hookMetadata" (merge (dict "name" (printf "kube-devops-%s" .name)) $context) }}
{{- $own := include "kube-devops.hookMetadata" (merge (dict "namespaced" true) $context) }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- $own | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  {{- $cluster | nindent 2 }}
rules:
  {{- toYaml .cluster | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  {{- $cluster | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kube-devops-{{ .name }}}
subjects:
  {{- toYaml $subjects | nindent 2 }}
{{- with .own }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- $own | nindent 2 }}
rules:
  {{- toYaml . | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- $own | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $context.name }}}
subjects:
  {{- toYaml $subjects | nindent 2 }}
{{- end }}
{{- end }}
