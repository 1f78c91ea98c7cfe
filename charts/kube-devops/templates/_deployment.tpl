{{- define "kube-devops.deployment" -}}
{{- $root := .root }}
{{- $component := .component }}
{{- with include "kube-devops.component" . | fromJson }}
{{- $context := dict "name" .name "root" $root }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "kube-devops.metadata" $context | nindent 2 }}
spec:
  replicas: {{ .values.replicaCount }}
  selector:
    matchLabels:
      {{- include "kube-devops.selector" . | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      {{- with merge (deepCopy .values.podAnnotations) (include "kube-devops.scrapeAnnotations" (dict "root" $root "component" .) | fromYaml) }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      labels:
        {{- include "kube-devops.selector" . | nindent 8 }}
    spec:
      serviceAccountName: {{ .name }}
      terminationGracePeriodSeconds: 30
      {{- include "kube-devops.podSpec" . | nindent 6 }}
      topologySpreadConstraints:
        {{- with .values.topologySpreadConstraints }}
        {{- toYaml . | nindent 8 }}
        {{- else }}
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "kube-devops.selector" . | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "kube-devops.image" (dict "root" $root "name" .name "image" .values.image) | quote }}
          imagePullPolicy: {{ .values.image.pullPolicy }}
          {{- with .values.extraArgs }}
          args:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with concat (include "kube-devops.environment" (dict "root" $root "component" $component) | fromYamlArray) .values.extraEnv }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - name: {{ .scheme }}
              containerPort: {{ .port }}
              protocol: TCP
          livenessProbe:
            httpGet: {path: /healthz, port: {{ .scheme }}, scheme: {{ upper .scheme }}}
            periodSeconds: 10
            timeoutSeconds: 2
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: {{ .scheme }}, scheme: {{ upper .scheme }}}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 3
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          securityContext:
            {{- include "kube-devops.containerSecurity" . | nindent 12 }}
          {{- if and (eq $component "webhook") (ne $root.Values.certificate.source "self-managed") }}
          volumeMounts:
            - name: certificate
              mountPath: /etc/policy-webhook
              readOnly: true
      volumes:
        - name: certificate
          secret:
            secretName: {{ include "kube-devops.certificateSecret" $root }}
          {{- end }}
{{- end }}
{{- end }}

{{- define "kube-devops.scrapeAnnotations" -}}
{{- if .root.Values.scrapeAnnotations.enabled }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .component.port | quote }}
prometheus.io/path: /metrics
prometheus.io/scheme: {{ .component.scheme }}
{{- end }}
{{- end }}

{{/* Only what differs from the defaults of the services. */}}
{{- define "kube-devops.environment" -}}
{{- $values := .root.Values }}
{{- $environment := list }}
{{- with $values.excludedNamespaces }}
{{- $environment = append $environment (dict "name" "GOV_EXCLUDED_NAMESPACES" "value" (join "," .)) }}
{{- end }}
{{- if ne $values.log.level "info" }}
{{- $environment = append $environment (dict "name" "GOV_LOG__LEVEL" "value" $values.log.level) }}
{{- end }}
{{- if ne $values.log.format "json" }}
{{- $environment = append $environment (dict "name" "GOV_LOG__FORMAT" "value" $values.log.format) }}
{{- end }}
{{- if eq .component "operator" }}
{{- with $values.clusterName }}
{{- $environment = append $environment (dict "name" "GOV_CLUSTER_NAME" "value" .) }}
{{- end }}
{{- if ne (int $values.auditResults.retention) 10 }}
{{- $environment = append $environment (dict "name" "GOV_AUDIT_RESULTS__RETENTION" "value" (toString $values.auditResults.retention)) }}
{{- end }}
{{- if $values.openReports.enabled }}
{{- $environment = append $environment (dict "name" "GOV_OPEN_REPORTS__ENABLED" "value" "true") }}
{{- end }}
{{- end }}
{{- if and (eq .component "webhook") (ne $values.certificate.source "self-managed") }}
{{- range $key, $file := dict "CERT" "tls.crt" "KEY" "tls.key" }}
{{- $environment = append $environment (dict "name" (printf "GOV_TLS__%s" $key) "value" (printf "/etc/policy-webhook/%s" $file)) }}
{{- end }}
{{- end }}
{{- if eq .component "webhook" }}
{{- $kinds := list }}
{{- range $values.workloadKinds }}
{{- $kinds = append $kinds (printf "%s/%s=%s" .group .kind (.podTemplatePath | default "spec.template")) }}
{{- end }}
{{- with $kinds }}
{{- $environment = append $environment (dict "name" "GOV_WORKLOAD_KINDS" "value" (join "," .)) }}
{{- end }}
{{- end }}
{{- toYaml $environment }}
{{- end }}

{{- define "kube-devops.certificateSecret" -}}
{{- if eq .Values.certificate.source "secret" }}{{ .Values.certificate.secretName }}{{ else }}policy-webhook-certificate{{ end }}
{{- end }}
