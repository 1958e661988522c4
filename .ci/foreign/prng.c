/* A stand-in for Windows' bcryptprimitives.dll, which older versions of Wine lack: the one function of
 * it that std asks, for random bytes. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T size) {
    while (size) {
        ULONG part = size > 1 << 16 ? 1 << 16 : (ULONG)size;
        if (!RtlGenRandom(bytes, part)) return FALSE;
        bytes += part;
        size -= part;
    }
    return TRUE;
}
