"""The configuration of each proxy, one for all workloads, with the reasons.

All have one thread, take the tenant from the header `x-tenant-id` to one of four cells, keep connections on both sides,
and speak HTTP/1.1 with the cells. Nobody adds a header that has to be asked for, nobody logs unless the workload says
so, and timeouts are so long that no connection is closed for being idle. Besides that a peer has every setting that we
found to make it cheaper in one workload without making it dearer in another. Where a choice costs elsewhere, it has the
default.
"""

from dataclasses import dataclass
from pathlib import Path

from . import tcp_configs
from .origin import temp_paths


@dataclass(frozen=True)
class Site:
    """Where a proxy runs and what it is to do."""

    folder: Path
    port: int
    admin_port: int
    cells: tuple[int, ...]
    access_log: bool
    descriptors: int
    protocol: str = "http"
    # For `https`; its key is in the same file.
    certificate: Path = Path()
    single_process: bool = False  # for valgrind, which follows one process best


# `keepalive` is above the number of connections, so that none is closed. There are no temporary files, and uploads are
# streamed, as the others do it. Logs are written in pieces of 64 KiB instead of line by line.
NGINX = """worker_processes 1; daemon off; {master}pid {folder}/nginx.pid; error_log {folder}/nginx.err warn;
worker_rlimit_nofile {descriptors};
events {{ worker_connections 16384; }}
http {{ access_log {access_log}; keepalive_requests 1000000000; keepalive_timeout 3600s; client_header_timeout 3600s;
  client_max_body_size 4m; proxy_max_temp_file_size 0; proxy_request_buffering off;
{buffers}  {temp}
  split_clients $http_x_tenant_id $cell {{ 25% c1; 25% c2; 25% c3; * c4; }}
{upstreams}  server {{ listen 127.0.0.1:{port}{ssl} backlog=4096;{tls}
    location / {{ proxy_pass http://$cell; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
"""


# The first buffer, of 4 KiB, takes the head and small answers; these are for large answers and uploads only. With the
# defaults (8 of 4 KiB, and 16 KiB) those cost nginx up to twice as much, which `nginx-default-buffers` shows.
NGINX_BUFFERS = """  proxy_buffers 8 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 128k;
"""


# Sessions are resumed by tickets alone, as the others have it by default.
NGINX_TLS = " ssl_certificate {certificate}; ssl_certificate_key {certificate}; ssl_protocols TLSv1.3;"


def nginx(site, buffers=NGINX_BUFFERS):
    if site.protocol == "tcp":
        return tcp_configs.nginx(site)
    is_tls = site.protocol == "https"
    upstreams = "".join(
        f"  upstream c{n} {{ server 127.0.0.1:{cell}; keepalive 256;"
        " keepalive_requests 1000000000; keepalive_timeout 3600s; }\n"
        for n, cell in enumerate(site.cells, 1)
    )
    text = NGINX.format(
        folder=site.folder,
        port=site.port,
        ssl=" ssl" if is_tls else "",
        tls=NGINX_TLS.format(certificate=site.certificate) if is_tls else "",
        descriptors=site.descriptors,
        master="master_process off; " if site.single_process else "",
        access_log=f"{site.folder}/nginx.access combined buffer=64k flush=1s" if site.access_log else "off",
        temp=temp_paths(site.folder),
        buffers=buffers,
        upstreams=upstreams,
    )
    return {"nginx.conf": text}


def nginx_default_buffers(site):
    return nginx(site, buffers="")


# `http-reuse always`, because with the default a new client's first request may open a connection. Buffers of 64 KiB
# (`tune.bufsize`) would make 1 MiB cheaper and small requests dearer, so they stay at 16. `option splice-auto` makes
# answers of 64 KiB dearer. The log goes to standard output, which is a file; HAProxy writes it line by line.
HAPROXY = """global
  nbthread 1
  maxconn 12000
  no strict-limits
{log}defaults
  mode http
{httplog}  timeout client 1h
  timeout server 1h
  timeout connect 5s
  timeout http-request 1h
  timeout http-keep-alive 1h
  http-reuse always
  backlog 4096
frontend edge
  bind 127.0.0.1:{port}{ssl}
  use_backend c%[req.hdr(x-tenant-id),xxh32,mod(4),add(1)]
{backends}"""


HAPROXY_TLS = " ssl crt {certificate} ssl-min-ver TLSv1.3"


def haproxy(site):
    if site.protocol == "tcp":
        return tcp_configs.haproxy(site)
    backends = "".join(f"backend c{n}\n  server s 127.0.0.1:{cell}\n" for n, cell in enumerate(site.cells, 1))
    text = HAPROXY.format(
        port=site.port,
        ssl=HAPROXY_TLS.format(certificate=site.certificate) if site.protocol == "https" else "",
        backends=backends,
        log="  log stdout format raw local0 info\n" if site.access_log else "",
        httplog="  log global\n  option httplog\n" if site.access_log else "",
    )
    return {"haproxy.cfg": text}


# A hash of the header chooses one of four endpoints; with Envoy that is a load balancing policy, not four clusters.
# Without request ids and headers of its own, and with limits that the load does not reach. Statistics are as they come.
ENVOY = """static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          codec_type: HTTP1
          generate_request_id: false
          common_http_protocol_options: {{ idle_timeout: 3600s }}
{access_log}          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: cells, hash_policy: [{{ header: {{ header_name: x-tenant-id }} }}] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
  - name: cells
    type: STATIC
    lb_policy: MAGLEV
    circuit_breakers: {{ thresholds: [{{ max_connections: 16384, max_pending_requests: 16384, max_requests: 16384 }}] }}
    load_assignment:
      cluster_name: cells
      endpoints:
      - lb_endpoints:
{endpoints}"""

ENVOY_LOG = """          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {folder}/envoy.access
"""


def envoy(site):
    endpoints = "".join(
        f"        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {cell} }} }} }}\n"
        for cell in site.cells
    )
    log = ENVOY_LOG.format(folder=site.folder) if site.access_log else ""
    return {"envoy.yaml": ENVOY.format(port=site.port, endpoints=endpoints, access_log=log)}


# GOMAXPROCS=1 comes with the command. Without compression towards the cells, which Caddy would ask for by itself.
CADDY = """{{
  admin off
  auto_https off
  persist_config off
  log {{
    level ERROR
  }}
  servers {{
    timeouts {{
      read_header 1h
      idle 1h
    }}
  }}
}}
http://:{port} {{
  bind 127.0.0.1
{access_log}  reverse_proxy {cells} {{
    lb_policy header x-tenant-id
    transport http {{
      compression off
      keepalive 1h
      keepalive_idle_conns 1024
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"""


def caddy(site):
    text = CADDY.format(
        port=site.port,
        cells=" ".join(f"127.0.0.1:{cell}" for cell in site.cells),
        access_log=f"  log {{\n    output file {site.folder}/caddy.access\n  }}\n" if site.access_log else "",
    )
    return {"Caddyfile": text}


# The defaults, but for one thread and the timeouts. It also does what it always does: checks what could be read in two
# ways, limits, health, metrics, forwarding headers.
CELLGATE = """listeners: [{{ name: edge, address: "127.0.0.1:{port}"{options} }}]
tenant_key: [{{ {key} }}]
table: {{ path: table.yaml }}
state_dir: state
threads: 1
admin: {{ address: "127.0.0.1:{admin_port}" }}
timeouts: {{ head_ms: 3600000, keepalive_ms: 3600000 }}
{more}"""

CELLGATE_OPTIONS = {
    "http": "",
    "https": ', tls: {{ certificates: [{{ certificate: "{certificate}" }}], min_version: "1.3" }}',
    "tcp": ", protocol: tcp",
}

SLOTS = 65536


def cellgate(site, more=""):
    if site.access_log:
        more += f'access_log: {{ path: "{site.folder}/cellgate.access" }}\n'
    text = CELLGATE.format(
        port=site.port,
        admin_port=site.admin_port,
        options=CELLGATE_OPTIONS[site.protocol].format(certificate=site.certificate),
        key="source_ip: true" if site.protocol == "tcp" else "header: x-tenant-id",
        more=more,
    )
    return {"proxy.yaml": text, "table.yaml": table(site.cells)}


def cellgate_direct_off(site):
    return cellgate(site, "direct: off\n")


def table(cells):
    """Four cells with equal shares of the slots."""
    text = f"format: 1\nhash: {{ seed: 0, slots: {SLOTS} }}\ncells:\n"
    for n, port in enumerate(cells, 1):
        text += f'  c{n}: {{ endpoints: [{{ address: "127.0.0.1:{port}" }}] }}\n'
    text += "slots:\n"
    borders = [SLOTS * n // len(cells) for n in range(len(cells) + 1)]
    for n in range(len(cells)):
        text += f'  c{n + 1}: ["{borders[n]}-{borders[n + 1] - 1}"]\n'
    return text
