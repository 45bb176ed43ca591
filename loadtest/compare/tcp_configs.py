"""The configuration of the peers as proxies for TCP: one cell, which cellgate takes by the client's address."""

from pathlib import Path

NGINX_MODULES = ("/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib64/nginx/modules/ngx_stream_module.so")

NGINX = """load_module {module};
worker_processes 1; daemon off; {master}pid {folder}/nginx.pid; error_log {folder}/nginx.err warn;
worker_rlimit_nofile {descriptors};
events {{ worker_connections 32768; }}
stream {{ access_log off; proxy_timeout 3600s; proxy_buffer_size 64k;
  server {{ listen 127.0.0.1:{port} backlog=4096; proxy_pass 127.0.0.1:{cell}; }} }}
"""


def nginx(site):
    text = NGINX.format(
        module=next((path for path in NGINX_MODULES if Path(path).exists()), NGINX_MODULES[0]),
        master="master_process off; " if site.single_process else "",
        folder=site.folder,
        descriptors=site.descriptors,
        port=site.port,
        cell=site.cells[0],
    )
    return {"nginx.conf": text}


# Bytes go from socket to socket without a copy where HAProxy finds that to be worth it.
HAPROXY = """global
  nbthread 1
  maxconn 12000
  no strict-limits
defaults
  mode tcp
  option splice-auto
  timeout client 1h
  timeout server 1h
  timeout connect 5s
  backlog 4096
frontend edge
  bind 127.0.0.1:{port}
  default_backend c1
backend c1
  server s 127.0.0.1:{cell}
"""


def haproxy(site):
    return {"haproxy.cfg": HAPROXY.format(port=site.port, cell=site.cells[0])}
