//! What the system has beside threads and time: sockets and their options, the interfaces of this host,
//! its name, and files in which it tells of itself. std's and the dependencies' types: whatever leaves
//! this process in the library does so through here and [`sync`](super::sync).

pub(crate) use std::fs;
pub(crate) use std::net::{TcpListener, UdpSocket};

pub(crate) use hostname::get as host_name;
#[cfg(any(target_vendor = "apple", all(test, target_os = "linux")))]
pub(crate) use if_addrs::Interface;
pub(crate) use if_addrs::{IfAddr, get_if_addrs};
#[cfg(all(test, target_os = "linux"))]
pub(crate) use if_addrs::{IfOperStatus, Ifv4Addr};
#[cfg(any(target_vendor = "apple", all(test, target_os = "linux")))]
pub(crate) use socket2::MsgHdr;
pub(crate) use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
